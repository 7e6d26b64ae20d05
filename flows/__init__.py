"""Flows: when things happen. Prefect's settings are made before Prefect is imported."""

import os

# A first start makes Prefect's database, which takes 15-23 s on two cores; its own limit is 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# No data leaves the machine unless the user says so.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# OpenMP threads that spin while they wait take the cores from Prefect's server and from each other:
# with one other busy process on two cores, training took 29 ms a row spinning and 3.7 ms sleeping.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
