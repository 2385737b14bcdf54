"""The Docker target: workloads as containers of a Docker daemon."""
