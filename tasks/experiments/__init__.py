"""Experiments of the sources, done again: each a module, listed in `registry`."""
