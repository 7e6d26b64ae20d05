"""Flip sets, and random sets of their size, against retraining."""
