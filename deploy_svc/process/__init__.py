"""The process target: workloads as plain processes of this machine. Not a sandbox."""
