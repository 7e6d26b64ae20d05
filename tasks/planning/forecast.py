"""What an audit will cost: its work, at the rates of a short calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage import Shard
from tasks.models.provenance import Difference
from tasks.planning.calibration import rates_of
from tasks.planning.cost_model import (
    DAMPING,
    kept_scores,
    prepared,
    unchosen,
    work_of,
)
from tasks.planning.disk import added_bytes
from tasks.planning.memory import memory, sizes_of
from tasks.run.hidden_states import recomputed_share, states_to_compute
from tasks.run.method_selection import method_evidence
from tasks.run.spec import Plan

if TYPE_CHECKING:  # a job is planned by its forecast while it is made
    from tasks.run.context import Job

OF_SHARDS = ("solve", "certificate", "score")
"""Stages that every shard goes through."""


@dataclass(frozen=True)
class Forecast:
    """Seconds, memory and bytes that an audit is expected to take from here.

    Attributes:
        stages: seconds of each stage, in order.
        memory: peak bytes of the process.
        disk: bytes added to the store.
        guessed_k: what was taken for k, where it is yet to be chosen.
        notes: what of the models' weights, padding and cut is not as usual.
    """

    shards: int
    queries: int
    pairs: int
    stages: dict[str, float]
    memory: int
    disk: int
    guessed_k: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The sum of the stages."""
        return sum(self.stages.values())

    @property
    def compared(self) -> dict[str, float]:
        """The stages as they can be measured: what is done shard by shard is one."""
        parts = sum(self.stages[name] for name in OF_SHARDS)
        others = {name: time for name, time in self.stages.items() if name not in OF_SHARDS}
        return others | {"shards": parts}

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"forecast: about {self.seconds:.0f} s, {self.memory / 2**30:.1f} GB of memory, "
            f"{self.disk / 1e6:.1f} MB on disk"
        ) + "".join(f"; model: {note}" for note in self.notes)


def forecast(job: "Job", shards: Sequence[Shard]) -> Forecast:
    """Forecast the missing `shards` and what has to be prepared for them."""
    found = rates_of(job)
    rates = found.with_prefix(recomputed_share(job))
    rows, missing, queries = len(job.train_texts), len(shards), sum(map(len, shards))
    kept = kept_scores(job.candidates, rows)
    hidden = states_to_compute(job) * found.prefix if missing else 0.0
    stages = {name: work.seconds(rates) for name, work in work_of(job, shards).items()}
    pairs = queries * min(kept, rows)
    return Forecast(
        shards=missing,
        queries=queries,
        pairs=pairs,
        stages={DAMPING: stages.pop(DAMPING), "hidden states": hidden, **stages},
        memory=memory(job, sizes_of(job)),
        disk=added_bytes(job, pairs, prepared(job)) if missing else 0,
        guessed_k=kept if unchosen(job) else None,
        notes=tuple(dict.fromkeys(n for one in job.members for n in one.objective.notes)),
    )


def draw(found: Forecast, plan: Plan, differences: Sequence[Difference] = ()) -> RenderableType:
    """The forecast for a terminal, and in what the model's training differs from the study."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(justify="right")
    record = plan.record
    done = len(record.shards()) - found.shards
    table.add_row("run", record.run)
    table.add_row("training rows", f"{record.train_rows:,}")
    table.add_row("shards to compute", f"{found.shards} of {len(record.shards())} ({done} kept)")
    table.add_row("queries to attribute", f"{found.queries:,}")
    if plan.sizes:
        table.add_row("sizes", plan.sizes)
    table.add_row("scored pairs", f"{found.pairs:,}")
    for name, told in method_evidence(plan.method) if plan.method else ():
        table.add_row(name, Text(told, justify="left"))
    if found.guessed_k is not None:
        table.add_row("candidates", f"k is not chosen yet; as if it were {found.guessed_k:,}")
    for name, seconds in found.stages.items():
        table.add_row(f"  {name}", f"{seconds:.0f} s")
    table.add_row("time", f"about {found.seconds:.0f} s, and up to 20 s for Prefect to start")
    for note in found.notes:
        table.add_row("model", Text(note, justify="left"))
    table.add_row("peak memory", f"about {found.memory / 2**30:.1f} GB")
    for one in differences:
        table.add_row("training record", Text(f"{one}", style="bold red", justify="left"))
    table.add_row("written", Text(f"about {found.disk / 1e6:.1f} MB to {plan.store_path}"))
    note = "Nothing was written. Times come from a calibration of a second on your own rows."
    return Panel(Group(table, note), title="forecast", title_align="left")
