"""Benchmark of label error detection, here and with other methods."""
