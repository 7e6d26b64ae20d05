"""Hardware and versions of a measurement, without anything that identifies the machine."""

import os
import platform
from datetime import UTC, datetime

import torch

from tasks.runtime.versions import read_processor_name, read_versions


def describe() -> dict:
    """Return processor, cores, memory, threads, versions and the date."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": read_processor_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "threads": torch.get_num_threads(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", "the default"),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "system": platform.system(),
        "versions": read_versions(),
    }
