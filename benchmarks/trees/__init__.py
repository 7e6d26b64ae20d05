"""Effects on boosted trees, compared with trees trained again on halves."""
