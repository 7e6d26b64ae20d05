"""Board of the open stages of a process: bars on a terminal, lines elsewhere, never silence.

A thread prints the last known state of the current stage whenever nothing was printed for a while,
so a single step that takes minutes still gets its line. The module imports nothing heavy.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tasks.runtime.progress_state import Stage
from tasks.runtime.progress_text import describe_end

TERMINAL_SECONDS = 9.0
"""Seconds without output after which a line is printed on a terminal, where no bar moves."""
LOG_SECONDS = 30.0
"""Seconds without output after which a line is printed elsewhere: CI, cron, systemd, a pipe."""
MODE_VARIABLE = "FASTIF_PROGRESS"
"""Environment variable: `lines` for lines on a terminal too, `off` for no progress at all."""


class ProgressBoard:
    """Open stages of a process, and the thread that reports on them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stages: list[Stage] = []
        self._display: Any = None
        self._printed = time.monotonic()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def open(self, stage: Stage) -> Iterator[Stage]:
        """Show a stage for the duration of the block."""
        self._add(stage)
        try:
            yield stage
        except BaseException:
            self._remove(stage)
            raise
        self._finish(stage)

    def advance(self, stage: Stage, count: int) -> None:
        """Add finished units to a stage."""
        with self._lock:
            stage.advance(count, time.monotonic())
            if self._display is not None and stage.bar is not None:
                self._display.update(stage.bar, completed=stage.done)

    def print_line(self, text: str) -> None:
        """Print one line to standard error."""
        with self._lock:
            self._printed = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def _add(self, stage: Stage) -> None:
        with self._lock:
            if not self._stages:
                self._printed = time.monotonic()
            self._stages.append(stage)
            if not stage.is_background and is_interactive():
                self._show(stage)
            if self._thread is None:
                self._wake = threading.Event()
                self._thread = threading.Thread(
                    target=self._report, args=(self._wake,), name="fastif-progress", daemon=True
                )
                self._thread.start()

    def _finish(self, stage: Stage) -> None:
        with self._lock:
            is_shown = stage.bar is not None
            if is_shown and self._display is not None:
                self._display.update(stage.bar, completed=stage.done, total=stage.done)
                if stage.is_part:
                    self._display.remove_task(stage.bar)
            elif not stage.is_part and not stage.is_background and get_mode() != "off":
                elapsed = time.monotonic() - stage.start
                self.print_line(f"{stage.name}: {describe_end(stage.done, stage.unit, elapsed)}")
            self._remove(stage)

    def _remove(self, stage: Stage) -> None:
        with self._lock:
            self._stages.remove(stage)
            if self._display is not None and all(open.bar is None for open in self._stages):
                self._display.stop()
                self._display = None
                self._printed = time.monotonic()
            if not self._stages:
                self._wake.set()
                self._thread = None

    def _show(self, stage: Stage) -> None:
        """Add a bar to the display that all stages share, since stages of threads overlap."""
        if self._display is None:
            from tasks.runtime.progress_bars import make_display

            self._display = make_display()
            self._display.start()
        stage.bar = self._display.add_task(stage.name, total=stage.total, stage=stage)

    def _report(self, ended: threading.Event) -> None:
        """Print a line whenever nothing was printed for an interval, until no stage is open."""
        while not ended.wait(self._find_waiting_time()):
            with self._lock:
                line = self._describe_current() if self._find_waiting_time() <= 0 else ""
                if line:
                    self.print_line(line)

    def _find_waiting_time(self) -> float:
        interval = TERMINAL_SECONDS if _is_terminal() else LOG_SECONDS
        if self._display is not None or get_mode() == "off":  # the bars move
            return interval
        return self._printed + interval - time.monotonic()

    def _describe_current(self) -> str:
        """Describe the stage that changed last, after the one that it is a part of."""
        now, stages = time.monotonic(), [s for s in self._stages if not s.is_background]
        parts = [s for s in stages if s.is_part]
        whole = [s for s in stages if not s.is_part]
        latest = [max(group, key=lambda s: s.changed) for group in (whole, parts) if group]
        shown = latest or self._stages[-1:]
        return "; ".join(s.describe(now, has_elapsed=s is shown[0]) for s in shown)


BOARD = ProgressBoard()
"""Board of this process."""

INTERACTIVE_COMMANDS = frozenset({"init"})
"""Commands that wait for input, which is no work to report."""


@contextmanager
def show_command(arguments: Sequence[str]) -> Iterator[None]:
    """Report on a command of the command line whenever no stage is open.

    Args:
        arguments: Arguments of the command line, without the program's name.
    """
    name = next((word for word in arguments if not word.startswith("-")), "")
    if not name or name in INTERACTIVE_COMMANDS:
        yield
        return
    with BOARD.open(Stage(f"fastif {name}", None, "", is_background=True)):
        yield


def get_mode() -> str:
    """Value of FASTIF_PROGRESS; empty if it is not set."""
    return os.environ.get(MODE_VARIABLE, "")


def is_interactive() -> bool:
    """Whether bars can be shown: on a terminal that can move its cursor."""
    return (
        _is_terminal() and os.environ.get("TERM", "") not in ("dumb", "unknown") and not get_mode()
    )


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
