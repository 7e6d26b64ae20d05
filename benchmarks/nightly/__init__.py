"""Cost of unattended runs: incremental runs, orchestration, executors, faults."""
