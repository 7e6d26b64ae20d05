"""Mislabel detection: the search, its table, review by people and random samples."""
