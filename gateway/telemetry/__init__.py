"""The mesh's own trace receiver, and how many traces are taken."""
