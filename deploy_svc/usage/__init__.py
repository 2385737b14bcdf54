"""How much CPU and memory instances use."""
