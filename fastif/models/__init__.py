"""Models: objectives over parameters, frozen layers, padding, precision, and their trial."""
