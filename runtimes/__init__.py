"""What runs inside a function's workload. `runtimes.catalog` is its face."""
