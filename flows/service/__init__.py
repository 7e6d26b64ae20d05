"""Lookup service: explanations of single predictions over HTTP."""
