"""The door of the mesh: Envoy's control plane, reflection and health, the REST facade, the trace receiver."""
