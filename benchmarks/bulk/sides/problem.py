"""Common problem of all sides: a MiniLM classifier trained on SST-2, and 256 queries.

It is stored in a folder, since each side is a separate process: the trained weights for fastif and
the published method, and a plain torch program for other packages.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import fastif
from benchmarks.fidelity.texts import Sst2
from benchmarks.peers.plain import Plain, Tail, load_plain, make_plain, save_plain
from fastif.models.prefix_cache import PrefixCache

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Problem:
    """The stored problem; its parts are computed on first use.

    Attributes:
        folder: Folder that `prepare` wrote.
        rows: Number of training rows.
        queries: Number of queries.
    """

    folder: Path
    rows: int
    queries: int

    @cached_property
    def workload(self) -> Sst2:
        return Sst2(Path(os.environ["FASTIF_DATA"]), rows=self.rows, queries=self.queries)

    @cached_property
    def objective(self) -> fastif.TransformerObjective:
        """Trained model; layer 5, pooler and classifier are attributed."""
        start = self.workload.start(0)
        start.full_model.load_state_dict(load_file(self.folder / WEIGHTS), strict=False)
        return fastif.TransformerObjective(start.full_model, "last:1")

    @cached_property
    def linear(self) -> fastif.TransformerObjective:
        """Trained model; only the linear layers are attributed, as kronfluence supports."""
        names = self.objective.space.names
        return fastif.TransformerObjective(
            self.objective.full_model, [f"^{name}$" for name in names if "LayerNorm" not in name]
        )

    @cached_property
    def train(self) -> PrefixCache:
        """Training rows with the output of the frozen layers."""
        return self._cached("train")

    @cached_property
    def query_examples(self) -> PrefixCache:
        """Queries with the output of the frozen layers."""
        return self._cached("query_examples")

    @property
    def plain(self) -> Plain:
        return load_plain(self.folder)

    def _cached(self, part: str) -> PrefixCache:
        cache = getattr(self.workload, part)
        assert isinstance(cache, PrefixCache)  # narrower than in `Texts`
        return cache


def prepare(problem: Problem) -> None:
    """Train the model and write the folder, unless it exists."""
    if (problem.folder / WEIGHTS).is_file():
        return
    objective, workload = problem.workload.train_model(0), problem.workload
    with torch.no_grad():
        save_plain(
            make_plain(Tail.of(objective), workload.train, workload.query_examples), problem.folder
        )
    save_file({k: v.clone() for k, v in objective.params.items()}, problem.folder / WEIGHTS)
