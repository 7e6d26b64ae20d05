"""Search for wrong spans of tagged sentences: missed, spurious, of another type or other words."""
