"""Error correction of a model on a failure set, and its evaluation on held-out failures."""
