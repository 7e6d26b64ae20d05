"""Sides of `benchmarks.bulk.against`, each run in a separate process."""
