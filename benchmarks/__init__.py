"""Paired measurements: `make bench` prints them and rewrites the table in docs/performance.md."""
