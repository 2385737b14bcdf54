"""Makes reality match the desired state: drivers, endpoints, health and logs of instances."""
