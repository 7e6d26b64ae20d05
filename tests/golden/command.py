"""Running `fastif` commands in a separate process, one after the other."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.command import ROOT, Ended, environment, prefect_server

STEADY = {"MKL_CBWR": "AUTO"}
"""Or products of matrices have other last digits where they lie elsewhere in memory."""


class Commands:
    """A process that serves them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.golden.worker"],
            cwd=ROOT,
            env={**environment(), **STEADY, "COLUMNS": "120"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, arguments: list[str], folder: Path) -> Ended:
        """A command in a folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"arguments": arguments, "folder": str(folder)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process died with {self.process.wait()} in {arguments}")
        return Ended(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


@contextmanager
def commands() -> Iterator[Commands]:
    """A process and a Prefect server for it."""
    with prefect_server():
        made = Commands()
        try:
            yield made
        finally:
            made.close()
