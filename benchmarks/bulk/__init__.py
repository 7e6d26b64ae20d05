"""Whole data sets at once: a full scan of every training row for hundreds of queries."""
