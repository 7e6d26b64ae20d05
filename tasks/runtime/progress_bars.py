"""Bars of the open stages on a terminal, by Rich."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from tasks.runtime.progress_state import Stage


class ProgressText(ProgressColumn):
    """Column with the units done, the total, the rate and the time left."""

    def render(self, task: Task) -> Text:
        """Return the text of a bar."""
        stage: Stage = task.fields["stage"]
        if task.finished:
            return Text(f"{stage.done:,} {stage.unit}")
        return Text(stage.describe_counts(task.elapsed or 0.0))


def make_display() -> Progress:
    """Return a display without bars; the spinner and the clock move while a step takes long."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        ProgressText(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
