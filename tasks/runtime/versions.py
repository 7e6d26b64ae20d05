"""What an answer was computed with: version of the mathematics, libraries, processor."""

import platform
from importlib.metadata import version
from pathlib import Path

INFLUENCE_VERSION = 6
"""Raised when `fastif` comes to compute something else, so that old answers are not mixed in."""

LIBRARIES = ("torch", "transformers", "polars", "pyarrow", "prefect", "numpy")


def read_versions() -> dict[str, str]:
    """The libraries an answer was computed with."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def read_processor_name() -> str:
    """The processor's model, as the system names it: what was measured, and not where."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
