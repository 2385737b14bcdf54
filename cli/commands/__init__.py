"""The commands, a module each; what is slow to import is imported where it is used."""
