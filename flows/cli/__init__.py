"""The command line: `python -m flows.cli`, or `fastif`."""
