"""Prefect tasks: load, compute with `fastif`, write with `storage`."""

import os
import sys
from pathlib import Path

# No data leaves the machine unless the user opts in; Prefect reads these when it is imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

# A worker of Dask has its spill folder `storage` first on the path. For Python that is a package
# too, and it takes precedence over an editable installation that finds imports by a hook; a regular
# package on the path takes precedence over both.
_root = str(Path(__file__).parents[1])
if _root not in sys.path:
    sys.path.append(_root)
