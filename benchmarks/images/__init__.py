"""Influence of training images against retraining."""
