"""Bisection of two runs: the change of a slice's loss, split over the training rows that differ."""
