"""Memory of the machine, or of the container that the process runs in."""

import os
from pathlib import Path

LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Memory limit of a container, by control groups of version 2 and 1."""


def count_memory_bytes() -> int:
    """Return the physical memory, or the limit of the container if that is smaller."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *map(_read_limit, LIMIT_FILES)], key=lambda limit: limit or physical)


def _read_limit(file: str) -> int:
    """Return the limit in a file, or 0 without one."""
    try:
        text = Path(file).read_text("ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0  # "max" is no limit
