"""Runs functions: HTTP requests, direct invokes, and the record of each run."""
