"""Objectives over trained models: parameters, frozen layers, padding, precision, and validation."""
