"""Builds WebAssembly components for Spin: of Python code, or taken as they are."""
