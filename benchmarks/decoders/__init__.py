"""Influence of training texts of decoders against retraining."""
