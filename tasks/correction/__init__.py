"""Correction of a model on anchors."""
