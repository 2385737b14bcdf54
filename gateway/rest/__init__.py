"""The REST facade for people: what this is, is it well, and its documents."""
