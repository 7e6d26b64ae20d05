"""Lookup of single predictions: which training rows account for them, from the night's sketches."""
