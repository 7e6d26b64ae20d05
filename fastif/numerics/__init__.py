"""Numerics: inner products in blocks, top-k and bottom-k, rounding, correlations, intervals."""
