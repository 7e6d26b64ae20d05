"""Prefect tasks: load, compute with `fastif`, write with `storage`."""
