"""Shapes of arrays are checked at each call of `fastif`, from its first import on."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

if os.environ.get("FASTIF_CHECK_SHAPES", "yes") in ("yes", "every"):
    from tests.shape_checks import install

    install("fastif")
