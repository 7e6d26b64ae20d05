"""Models on disk: loading, fine-tuning, hidden states, and the record of their training."""
