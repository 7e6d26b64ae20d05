"""State of one stage of a computation: its units, and how many of them are done."""

import time
from dataclasses import dataclass, field
from typing import Any

from tasks.runtime.progress_text import describe_progress, format_duration
from tasks.runtime.stage_timer import STAGE_TIMER


@dataclass(eq=False)
class Stage:
    """Stage of a computation with what is known of its progress.

    Attributes:
        name: Name of the stage.
        total: Number of units; None if unknown.
        unit: Name of the units, in the plural.
        is_part: Whether the stage is a step of another one: its end gets no line.
        is_background: Whether the stage is shown only if no other one is open.
        is_upper_bound: Whether the total is the most units that there may be.
        done: Number of finished units, never more than the total.
        counted: Number of units as they were counted.
        start: Monotonic time of the start.
        changed: Monotonic time of the last progress.
        longest_step: Most seconds between two changes.
        bar: Id of the bar in the display; None without one.
    """

    name: str
    total: int | None
    unit: str
    is_part: bool = False
    is_background: bool = False
    is_upper_bound: bool = False
    done: int = 0
    counted: int = 0
    start: float = field(default_factory=time.monotonic)
    changed: float = field(default_factory=time.monotonic)
    longest_step: float = 0.0
    bar: Any = None

    def advance(self, count: int, now: float) -> None:
        """Add finished units."""
        self.counted += count
        # Rows may be read more often than expected, such as those of a trial.
        self.done = self.counted if self.total is None else min(self.counted, self.total)
        self.longest_step = max(self.longest_step, now - self.changed)
        self.changed = now

    def describe(self, now: float, *, has_elapsed: bool = True) -> str:
        """Progress in one line.

        Args:
            now: Monotonic time.
            has_elapsed: Whether the seconds since the start are given where the time left is not.
        """
        elapsed = now - self.start
        if self.is_background:
            step = f" ({STAGE_TIMER.current})" if STAGE_TIMER.current else ""
            return f"{self.name}: at work for {format_duration(elapsed)}{step}"
        return f"{self.name}: {self.describe_counts(elapsed, has_elapsed=has_elapsed)}"

    def describe_counts(self, elapsed: float, *, has_elapsed: bool = True) -> str:
        """Units done, total, rate and time left."""
        most = "at most " if self.is_upper_bound else ""
        running = self._estimate_running_units(elapsed)
        text = describe_progress(self.done, self.total, self.unit, elapsed, most, running)
        return text if has_elapsed else text.partition(" after ")[0]

    def _estimate_running_units(self, elapsed: float) -> float:
        """Units that the running step has done so far, at the rate of the earlier ones.

        Units are counted when a step ends, such as all queries of a shard. Without this estimate
        the time left would grow while a step runs.
        """
        until = self.changed - self.start
        if not self.done or until <= 0:
            return 0.0
        return min(elapsed - until, self.longest_step) * self.done / until
