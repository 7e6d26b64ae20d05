"""Record of a forecast: seconds of each stage, memory and disk."""

from dataclasses import dataclass

from tasks.study.durations import format_duration

AGREEMENT_STAGE = "agreement"
"""Stage that measures the agreement of a sampled curvature."""
SHARD_STAGES = ("solve", "certificate", "score")
"""Stages that run for every shard."""


@dataclass(frozen=True)
class Forecast:
    """Forecast of the remaining time, memory and disk of an audit.

    Attributes:
        shards: Number of shards to compute.
        queries: Number of queries in them.
        pairs: Number of scores to write.
        stages: Seconds of each stage, in order.
        memory: Peak memory of the process, in bytes.
        disk: Bytes to be added to the store.
        guessed_k: Assumed number of candidates while k is not selected; None otherwise.
        notes: Unusual properties of the models (weights, padding, truncation).
        excess: Warning that the time is above the study's budget; empty if it is not.
    """

    shards: int
    queries: int
    pairs: int
    stages: dict[str, float]
    memory: int
    disk: int
    guessed_k: int | None = None
    notes: tuple[str, ...] = ()
    excess: str = ""

    @property
    def seconds(self) -> float:
        """Total seconds of all stages."""
        return sum(self.stages.values())

    @property
    def seconds_without_agreement(self) -> float:
        """Seconds of all stages but the measurement of the agreement, which fits itself in."""
        return self.seconds - self.stages.get(AGREEMENT_STAGE, 0.0)

    @property
    def comparable_stages(self) -> dict[str, float]:
        """Seconds of the stages as they are measured: those of shards are added up."""
        shard_seconds = sum(self.stages[name] for name in SHARD_STAGES)
        others = {name: time for name, time in self.stages.items() if name not in SHARD_STAGES}
        return others | {"shards": shard_seconds}

    def __str__(self) -> str:
        """Return one line for a log."""
        line = (
            f"forecast: about {format_duration(self.seconds)}, "
            f"{self.memory / 2**30:.1f} GB of memory, {self.disk / 1e6:.1f} MB on disk"
        )
        excess = [self.excess] if self.excess else []
        return "; ".join([line, *excess, *(f"model: {note}" for note in self.notes)])
