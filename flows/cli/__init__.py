"""The command line `fastif`, also `python -m flows.cli`."""
