"""Benchmarks on whole data sets: recall of candidates, full scans, scaling, audits."""
