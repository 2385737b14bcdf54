"""Jobs: work that nobody waits for, kept in a queue in the database until it has ended."""
