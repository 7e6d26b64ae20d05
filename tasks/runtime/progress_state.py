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
    bar: Any = None

    def describe(self, now: float) -> str:
        """Progress in one line."""
        elapsed = now - self.start
        if self.is_background:
            step = f" ({STAGE_TIMER.current})" if STAGE_TIMER.current else ""
            return f"{self.name}: at work for {format_duration(elapsed)}{step}"
        return f"{self.name}: {self.describe_counts(elapsed)}"

    def describe_counts(self, elapsed: float) -> str:
        """Units done, total, rate and time left."""
        most = "at most " if self.is_upper_bound else ""
        return describe_progress(self.done, self.total, self.unit, elapsed, most)
