"""Detection of injected errors among numbers and among several labels a row."""
