"""The spin target: WebAssembly components in host programs of their own."""
