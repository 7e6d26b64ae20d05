"""Flip sets of single queries: request, search, confirmation by retraining, and findings."""
