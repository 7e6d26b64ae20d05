"""LDS with intervals by the bootstrap over halves and queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.fidelity.workload import Subset
from fastif.numerics.correlation import linear_datamodelling_score, spearman

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Halves:
    """Margins of the queries under models retrained on halves.

    Attributes:
        halves: Positions of the training rows of each half.
        margins: Margins of the queries, [m q].
    """

    halves: Sequence[Subset]
    margins: Float[Tensor, "m q"]

    def score_mean(self, effects: Float[Tensor, "q n"]) -> float:
        """Return the LDS, the mean over the queries."""
        scores = linear_datamodelling_score(effects.double(), list(self.halves), self.margins)
        return float(scores.nanmean())

    def predict(self, effects: Float[Tensor, "q n"]) -> Float[Tensor, "m q"]:
        """Return the summed effects of the rows of each half."""
        return torch.stack([effects[:, half].double().sum(1) for half in self.halves])


def bootstrap_scores(
    truth: Halves, effects: Mapping[str, Float[Tensor, "q n"]]
) -> list[dict[str, object]]:
    """Return the LDS of each method with its 95 % interval, and the difference from the first.

    Halves and queries are drawn with replacement, the same ones for all methods.

    Args:
        truth: Retrained models.
        effects: Effects of each method by name; the first one is compared with the others.
    """
    generator = torch.Generator().manual_seed(0)
    halves, queries = truth.margins.shape
    predictions = {name: truth.predict(e) for name, e in effects.items()}
    drawn: dict[str, list[float]] = {name: [] for name in effects}
    for _ in range(DRAWS):
        rows = torch.randint(halves, (halves,), generator=generator)
        columns = torch.randint(queries, (queries,), generator=generator)
        outcome = truth.margins[rows][:, columns].double().T
        for name, predicted in predictions.items():
            score = spearman(predicted[rows][:, columns].T, outcome).nanmean()
            drawn[name].append(float(score))
    first = torch.tensor(drawn[next(iter(effects))])
    scores = []
    for name, e in effects.items():
        draws = torch.tensor(drawn[name])
        low, high = torch.quantile(draws, torch.tensor([0.025, 0.975])).tolist()
        ahead = torch.quantile(first - draws, torch.tensor([0.025, 0.975])).tolist()
        score = {"name": name, "lds": truth.score_mean(e), "low": low, "high": high}
        scores.append({**score, "behind_low": ahead[0], "behind_high": ahead[1]})
    return scores
