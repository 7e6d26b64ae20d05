"""Audit: Prefect tasks that prepare, attribute, check and finish a run."""
