"""Counts and times of the runs of functions."""
