"""Evaluation: recall of candidates, and the choice of damping and k by measurement."""
