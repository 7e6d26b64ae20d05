"""Truth of a workload: margins of models retrained on random halves, by seed, and its ceiling.

Each seed is a file of its own, so that retraining can be stopped, resumed and extended. The seeds
are two disjoint sets of equal size, A (1000, 1001, ...) and B (2000, 2001, ...): a method is scored
against both, and the agreement of A with B says what a predictor without noise would reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.numerics.correlation import linear_datamodelling_score, spearman

if TYPE_CHECKING:
    from benchmarks.fidelity.workload import Subset, Workload

FIRST_SEEDS = {"A": 1000, "B": 2000}
"""First seed of each set; the seeds of other models are smaller."""


@dataclass(frozen=True)
class Ceiling:
    """LDS that a predictor without noise would reach on a truth with noise.

    Attributes:
        value: Square root of the agreement of the two sets of seeds.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        agreement: Spearman correlation of the two sets over the halves, mean over the queries.
    """

    value: float
    low: float
    high: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Truth:
    """Margins of the queries under models retrained on random halves, by set of seeds.

    Args:
        halves: Positions of the training rows of each of the m halves.
        sets: Margins [m q] by set, each the mean over the seeds of the set.
        seeds: Number of seeds of each set.
        by_seed: Margins [m q] of each seed.
    """

    halves: Sequence[Subset]
    sets: dict[str, Float[Tensor, "m q"]]
    seeds: int
    by_seed: dict[int, Float[Tensor, "m q"]]

    @classmethod
    def from_seeds(
        cls, halves: Sequence[Subset], by_seed: dict[int, Float[Tensor, "m q"]]
    ) -> Truth:
        """Return the truth of these seeds, in the sets that they belong to."""
        sets = {
            name: [margins for seed, margins in sorted(by_seed.items()) if find_set(seed) == name]
            for name in FIRST_SEEDS
        }
        means = {name: torch.stack(runs).mean(0) for name, runs in sets.items() if runs}
        return cls(halves, means, max(map(len, sets.values())), by_seed)

    def score(self, effect: Float[Tensor, "q n"]) -> Float[Tensor, " q"]:
        """Return the LDS of each query, the mean over the sets.

        LDS(z) = mean over sets of Spearman over halves S of (Σ_{i∈S} effect[z, i], margin_S(z))

        A query whose sums are all equal, which predict nothing, counts 0.
        """
        halves = list(self.halves)
        scores = [
            linear_datamodelling_score(effect.double(), halves, margins)
            for margins in self.sets.values()
        ]
        return torch.stack(scores).nan_to_num(0.0).mean(0)

    @property
    def ceiling(self) -> Ceiling | None:
        """Ceiling of the LDS; None with a single set of seeds."""
        return measure_ceiling(*self.sets.values()) if len(self.sets) == 2 else None


def measure_ceiling(first: Float[Tensor, "m q"], second: Float[Tensor, "m q"]) -> Ceiling:
    """Return the square root of the agreement of two truths (Spearman's correction, 1904).

        ceiling = (mean over queries of Spearman over halves (first, second))^1/2

    Two truths with independent noise of equal size correlate by their reliability r, and a
    predictor without noise correlates with each by √r. The interval adds the variance over the
    queries to that over the halves (delete-one jackknife), since all queries share the halves.

    >>> margins = torch.tensor([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]])
    >>> ceiling = measure_ceiling(margins, margins)
    >>> round(ceiling.value, 6), round(ceiling.agreement, 6)
    (1.0, 1.0)
    """
    by_query = spearman(first.T, second.T)
    agreement = float(by_query.nanmean())
    used = by_query[torch.isfinite(by_query)]
    over_queries = float(used.var()) / len(used) if len(used) > 1 else math.nan
    error = math.sqrt(over_queries + _jackknife_variance(first, second))
    low, high = agreement - 1.96 * error, agreement + 1.96 * error
    value, low, high = (math.sqrt(min(1.0, max(0.0, r))) for r in (agreement, low, high))
    return Ceiling(value, low, high, agreement)


def _jackknife_variance(first: Tensor, second: Tensor) -> float:
    """Return the variance of the mean agreement over the halves (Quenouille-Tukey jackknife)."""
    count = len(first)
    kept = [torch.arange(count) != left_out for left_out in range(count)]
    means = torch.stack([spearman(first[k].T, second[k].T).nanmean() for k in kept])
    return float((means - means.mean()).square().sum()) * (count - 1) / count


def find_set(seed: int) -> str:
    """Return the set of a seed.

    >>> find_set(1003), find_set(2000)
    ('A', 'B')
    """
    return max(FIRST_SEEDS, key=lambda name: (FIRST_SEEDS[name] <= seed, FIRST_SEEDS[name]))


def list_seeds(count: int) -> list[int]:
    """Return the seeds of both sets, in the order of their training.

    >>> list_seeds(2)
    [1000, 2000, 1001, 2001]
    """
    return [first + number for number in range(count) for first in FIRST_SEEDS.values()]


def measure_truth(
    workload: Workload,
    folder: Path,
    count: int,
    report: Callable[[str], None] = lambda line: None,
) -> Truth:
    """Train the models of all seeds that `folder` does not have, and return the truth.

    Args:
        workload: Workload with its halves and queries.
        folder: Folder with `seed-<s>.safetensors`, tensor `margins` [m q].
        count: Number of seeds of each set.
        report: Function that receives a line for each trained seed.
    """
    for seed in list_seeds(count):
        path = seed_path(folder, seed)
        if path.is_file():
            continue
        margins = workload.train_on_subsets(workload.halves, [seed], workload.query_examples)
        write_seed(path, margins)
        report(f"{workload.name}: seed {seed}")
    return read_truth(workload.halves, folder, count)


def read_truth(halves: Sequence[Subset], folder: Path, count: int) -> Truth:
    """Return the truth of the seeds that both sets have, at most `count`; else of set A alone."""
    paired = count_seeds(folder, count)
    firsts = FIRST_SEEDS.values() if paired else [FIRST_SEEDS["A"]]
    seeds = [first + place for first in firsts for place in range(paired or count)]
    by_seed = {
        seed: load_file(seed_path(folder, seed))["margins"].double()
        for seed in seeds
        if seed_path(folder, seed).is_file()
    }
    return Truth.from_seeds(halves, by_seed)


def count_seeds(folder: Path, limit: int) -> int:
    """Return the number of seeds, at most `limit`, that both sets have without a gap."""
    count = 0
    while count < limit and all(
        seed_path(folder, first + count).is_file() for first in FIRST_SEEDS.values()
    ):
        count += 1
    return count


def seed_path(folder: Path, seed: int) -> Path:
    """Return the file of a seed."""
    return folder / f"seed-{seed}.safetensors"


def write_seed(path: Path, margins: Float[Tensor, "m q"]) -> None:
    """Write the margins of a seed; a file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({"margins": margins.float().contiguous()}, part)
    part.replace(path)


def describe_truth(workload: Workload, truth: Truth) -> dict:
    """Return the workload, its truth and its ceiling for JSON."""
    ceiling = truth.ceiling
    return {
        "title": workload.title,
        "rows": workload.rows,
        "queries": workload.queries,
        "subsets": workload.subsets,
        "seeds": truth.seeds,
        "sets": sorted(truth.sets),
        "ceiling": None if ceiling is None else asdict(ceiling),
        "source": workload.source,
        "licence": workload.licence,
    }
