"""The processor, in words that tell what was measured and not where."""

import platform
from pathlib import Path


def read_processor_name() -> str:
    """Its model, as the system names it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
