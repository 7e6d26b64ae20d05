"""The sides of `benchmarks.bulk.against`, each run in a process of its own."""
