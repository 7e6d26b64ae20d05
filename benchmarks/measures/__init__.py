"""Measures that need no label, compared with the loss at the true label."""
