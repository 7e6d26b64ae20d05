"""Data: examples in batches, tokenized texts, targets, and conversion of callers' forms."""
