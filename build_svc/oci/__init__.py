"""Speaks to OCI registries: pushes what was built, and finds out who it is allowed to be there."""
