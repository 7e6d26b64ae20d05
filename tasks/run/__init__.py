"""A run: what it is made of, what it computed, and what it takes over from earlier ones."""
