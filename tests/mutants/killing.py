"""Running tests on a tree, in a child that has what all tests import already."""

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore"),
    *("-o", "addopts=--import-mode=importlib", "-m", "not long and not faults"),
)
HUNG = -1


def preload() -> None:
    """Import third-party code once; children begin with it.

    They check no shapes at run time, which takes longer than most tests.
    """
    os.environ["FASTIF_CHECK_SHAPES"] = "no"
    import polars  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401

    torch.set_num_threads(1)


def run_tests(root: Path, tests: Sequence[str], patience: float) -> tuple[int, str]:
    """The exit status of pytest, and the first test that failed; `HUNG` after too many seconds."""
    with tempfile.TemporaryFile("w+") as log:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _child(root, tests, log.fileno())
        code = _wait(child, patience)
        log.seek(0)
        text = log.read()
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    last = text.strip().splitlines()[-1:] or ["nothing was said"]
    return code, failed[0] if failed else last[0]


def _child(root: Path, tests: Sequence[str], log_fd: int) -> None:
    """The rest of a child's life."""
    code = 70
    try:
        os.setsid()
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        os.chdir(root)
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.path[:] = [str(root), *(place for place in sys.path if place not in ("", os.getcwd()))]
        for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[name]  # the tree has its own
        import pytest

        code = int(pytest.main([*OPTIONS, *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _wait(child: int, patience: float) -> int:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG
