"""The study on which both sides are measured, opened once a process."""

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import fastif
from benchmarks import reference
from tasks.planning.open_run import load_run
from tasks.run.context import RunContext
from tasks.run.spec import plan_run

STUDY = Path("examples/nli/study.toml")
SHARD = 64
"""Queries that fastif attributes together, independent of the shards of the study."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurement.

    Attributes:
        rounds: Number of rounds, each with both sides.
        depth: Steps J of the published LiSSA; all of them are run.
        scored: Number of candidates that the published method scores in a round.
        compared: Number of pairs a query for which the scores of both sides are compared.
    """

    rounds: int = 3
    depth: int = 1000
    scored: int = 60
    compared: int = 20


FULL = Sizes()
QUICK = Sizes(rounds=1, depth=10, scored=5, compared=5)


class Singles(Sequence[reference.Example]):
    """Tokenised texts as batches of one, without padding."""

    def __init__(self, texts: fastif.TextExamples) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> reference.Example:
        return self.texts.take(torch.tensor([index]))


def open_example(study: Path) -> RunContext:
    """Return the study with its model and tokens; nothing is computed yet."""
    return load_run(plan_run(study))


def published_model(context: RunContext) -> tuple[nn.Module, list[nn.Parameter]]:
    """Return the model and its attributed parameters for the published method."""
    model = context.objective.full_model
    return model, reference.attribute(model, context.objective.space.names)


def shard(context: RunContext, turn: int, rounds: int) -> Tensor:
    """Return the queries of a round: a shard, at evenly spaced positions over the rounds."""
    size = min(SHARD, len(context.query_examples))
    last = len(context.query_examples) // size - 1
    index = round(turn * last / max(1, rounds - 1))
    return torch.arange(size) + index * size


def timed_query(context: RunContext, turn: int, rounds: int) -> int:
    """Return the query of a round whose s_test the published method computes."""
    ids = shard(context, turn, rounds)
    return int(ids[len(ids) // 2])


def candidate_count(context: RunContext) -> int:
    """Return the k of the kNN measurement: 5 % of the training set."""
    return max(1, round(0.05 * len(context.train_examples)))


def peak_megabytes() -> float:
    """Return the peak resident memory of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
