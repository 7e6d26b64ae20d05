"""Influence for targets beyond one class a row, against retraining."""
