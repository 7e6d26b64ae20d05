"""Prefect flows and the command line. Prefect's settings are set before it is imported."""

import os

import tasks  # noqa: F401  (it sets up the import path, and that nothing is sent)

# The first start creates Prefect's database, which takes 15-23 s on two cores; the default is 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Waiting OpenMP threads spin for long by default, which takes cores from Prefect's server and from
# each other. On two cores a training row took 1.8 ms alone and 29 ms next to one busy process; with
# a short spin 1.8 and about 4.5 ms, without spinning 2.4 and 3.4 ms.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
