"""Versions that results depend on: of the computation, the libraries and the processor."""

import platform
from importlib.metadata import version
from pathlib import Path

INFLUENCE_VERSION = 6
"""Version of the computation, raised whenever results change, so that stores do not mix them."""

LIBRARIES = ("torch", "transformers", "polars", "pyarrow", "prefect", "numpy")


def read_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def read_processor_name() -> str:
    """Model name of the processor, as the system reports it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
