"""Completion of the command line in shells: scripts made from the commands as they are."""
