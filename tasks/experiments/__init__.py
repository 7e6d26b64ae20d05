"""Reproductions of published experiments, one a module, listed in `registry`."""
