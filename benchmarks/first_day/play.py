"""Play of a first day: the first command is typed, every further one is the one printed as next."""

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

NEXT = re.compile(r"^\s*Next: (fastif .+)$", re.MULTILINE)
LISTED = re.compile(r"^  (fastif report.*)$", re.MULTILINE)
"""The report, in a list of several next commands."""

ENDS = ("review", "diff")
"""Commands at which a day ends: the first needs a person, the second another run."""

MARK = "# <-"
"""Mark of a line of the study file that is left to the user."""

MAX_STEPS = 6
PANEL = re.compile(r"^╭─ (.+?) ─+╮$")
KEPT_PANELS = ("forecast", "labels", "run ", "warnings")
"""Beginnings of the titles of panels without texts."""

FOLDER = "~/day"
"""Stands for the folder of the day in the kept outputs."""


@dataclass(frozen=True)
class Step:
    """One command with its output and cost.

    Attributes:
        command: The command as it is typed.
        seconds: Wall time.
        processor: Processor seconds, of child processes too.
        peak_mb: Peak memory of the largest process, in MB.
        code: Exit code.
        output: Standard output and standard error, as they come.
    """

    command: str
    seconds: float
    processor: float
    peak_mb: float
    code: int
    output: str


@dataclass(frozen=True)
class Day:
    """The commands of a day, and what was left to decide.

    Attributes:
        steps: Commands in their order.
        marks: Lines of the study file that are marked for the user.
    """

    steps: list[Step] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def to_json(self) -> dict:
        """Return the day as a JSON object."""
        return asdict(self)


def play_day(folder: Path, first: str) -> Day:
    """Run the first command in a folder, then each printed as next, until a person is needed."""
    steps, command = [], first
    for _ in range(MAX_STEPS):
        steps.append(run_command(folder, command))
        output = steps[-1].output
        printed = NEXT.findall(output) or LISTED.findall(output)
        if steps[-1].code or not printed:
            break
        command = printed[0].strip()
        if command.split()[1] in ENDS or command in [step.command for step in steps]:
            break
    study = folder / "study.toml"
    lines = study.read_text("utf-8").splitlines() if study.is_file() else []
    return Day(steps, [line for line in lines if MARK in line])


def leave_out_texts(output: str) -> str:
    r"""Replace panels with texts of the data set, which may not be shipped, by their titles.

    >>> print(leave_out_texts("╭─ query 7 ─╮\n│ a text    │\n╰───────────╯\nNext: fastif runs"))
    [query 7: a panel with texts of the data set]
    Next: fastif runs
    """
    lines, is_left_out = [], False
    for line in output.splitlines():
        title = PANEL.match(line)
        if title and not title[1].startswith(KEPT_PANELS):
            is_left_out = True
            lines.append(f"[{title[1]}: a panel with texts of the data set]")
        if not is_left_out:
            lines.append(line)
        is_left_out &= not line.startswith("╰")
    return "\n".join(lines)


def run_command(folder: Path, command: str) -> Step:
    """Run a command line of fastif in a folder, with this interpreter and no terminal."""
    _, *arguments = shlex.split(command)
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": os.getcwd()}
    start = time.perf_counter()
    with TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read().decode("utf-8", "replace").replace(str(folder), FOLDER)
        text = leave_out_texts(text)
    code = os.waitstatus_to_exitcode(status)
    processor, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3
    return Step(command, seconds, processor, peak, code, text)
