"""`fnmesh up`: the services and Envoy as child processes, watched, restarted, and stopped in order."""
