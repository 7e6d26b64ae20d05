"""Rendering of results as panels and tables on the terminal."""
