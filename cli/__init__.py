"""`fnmesh`, the command line of the mesh."""
