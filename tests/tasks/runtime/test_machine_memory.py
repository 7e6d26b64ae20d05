"""Memory of the machine against the kernel's own account of it."""

import re
from pathlib import Path

import pytest

from tasks.runtime import machine_memory
from tasks.runtime.machine_memory import count_memory_bytes


def _physical_bytes() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        pytest.skip("the system has no /proc/meminfo")
    kilobytes = re.search(r"^MemTotal: +(\d+) kB$", meminfo.read_text("ascii"), re.MULTILINE)
    assert kilobytes is not None
    return 1024 * int(kilobytes[1])


@pytest.mark.parametrize(
    ("limit", "expected"), [("1073741824\n", 2**30), ("max\n", None), ("9223372036854771712", None)]
)
def test_the_limit_of_a_container_counts_if_it_is_smaller(limit, expected, tmp_path, monkeypatch):
    physical = _physical_bytes()
    file = tmp_path / "memory.max"
    file.write_text(limit, "ascii")
    monkeypatch.setattr(machine_memory, "LIMIT_FILES", (str(tmp_path / "absent"), str(file)))
    assert count_memory_bytes() == (expected or physical)
