"""Whole data sets at once: what cheap tiers find of a full scan, what it costs, how it grows."""
