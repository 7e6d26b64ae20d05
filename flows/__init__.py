"""Flows: when things happen. Prefect's settings are made before Prefect is imported."""

import os

import tasks  # noqa: F401  (it sees to the path)

# A first start makes Prefect's database, which takes 15-23 s on two cores; its own limit is 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# No data leaves the machine unless the user says so.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# OpenMP threads that spin for long while they wait take the cores from Prefect's server and from
# each other. On two cores a training row took 1.8 ms alone and 29 ms beside one busy process with
# the default; a short spin takes 1.8 and about 4.5, no spin at all 2.4 and 3.4.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
