"""Lookup service: latency by the number of training rows, and requests under bad input."""
