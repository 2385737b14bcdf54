"""The registry: workspaces, functions, revisions and what should be running. The only place that says which
state may follow which."""
