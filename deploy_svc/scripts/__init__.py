"""Runs the scripts of jobs: each once, confined like a function, and no longer than the call that wants it."""
