"""Data: examples of a batch, tokenized texts, targets, and the forms in which callers have them."""
