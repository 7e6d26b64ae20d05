"""Prefect tasks: load, compute with `fastif`, write with `storage`."""

import sys
from pathlib import Path

# A worker of Dask has its spill folder `storage` first on the path. For Python that is a package
# too, and it takes precedence over an editable installation that finds imports by a hook; a regular
# package on the path takes precedence over both.
_root = str(Path(__file__).parents[1])
if _root not in sys.path:
    sys.path.append(_root)
