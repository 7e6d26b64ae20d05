"""Gradients: one a training example, by forward hooks or one backward pass each."""
