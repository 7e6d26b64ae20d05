"""Mislabel detection: its table, export and import of human reviews, and random audit samples."""
