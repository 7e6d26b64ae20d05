"""Boosted trees: their files, and the influence of training rows on their predictions."""
