"""Flip sets that come true when the model is trained again, beside random sets of their size."""
