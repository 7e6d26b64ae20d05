"""Unrolled differentiation: removal effects by the derivative of the whole training."""
