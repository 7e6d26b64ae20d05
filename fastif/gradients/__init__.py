"""Per-example gradients, by forward hooks or by one backward pass for each example."""
