"""Models on disk: location, loading, fine-tuning, hidden states and training record."""
