"""A fixed sample of training examples on which whole vectors of scores are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.gradients.per_example import Gradients
from fastif.numerics.correlation import pearson
from fastif.numerics.out_of_memory import split_on_oom

CONTROL_SIZE = 256
SEED = 2_718_281_828
"""Not one that a study is likely to draw its own samples with."""


@dataclass(frozen=True, eq=False)
class ControlScores:
    """Scores of the control sample, and what they would be without any curvature.

    Attributes:
        scores: ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train), up to the factor 1/n.
        products: ∇L(query)ᵀ ∇L(train), the plain gradient product.
    """

    scores: Float[Tensor, "q c"]
    products: Float[Tensor, "q c"]

    def compute_correlation(self) -> Float[Tensor, " q"]:
        """Pearson correlation of the scores with the gradient products; NaN where undefined."""
        finite = torch.isfinite(self.scores + self.products).any(0)
        return pearson(self.scores[:, finite], self.products[:, finite])


def estimate_captured_mass(
    controls: Sequence[ControlScores],
    count: int,
    candidates: Int[Tensor, "q k"],
    effects: Float[Tensor, "q k"],
) -> Float[Tensor, " q"]:
    """Share of Σ |removal_effect| over all `count` training examples that the candidates hold.

    The control sample was drawn without looking, so those of it that are no candidates stand for
    all that are none: Σ over these is estimated as their mean times their number.

    Args:
        controls: of each model.
        count: n.
        candidates: positions, negative where there is none.
        effects: removal effects of the candidates.
    """
    scores = torch.stack([member.scores for member in controls]).mean(0).abs() / count
    sampled_ids = select_control_ids(count)
    uncovered = (candidates[:, :, None] != sampled_ids).all(1) & torch.isfinite(scores)
    valid = (candidates >= 0) & torch.isfinite(effects)
    captured = effects.abs().masked_fill(~valid, 0).sum(1)
    mean = scores.masked_fill(~uncovered, 0).sum(1) / uncovered.sum(1).clamp_min(1)
    return captured / (captured + mean * (count - valid.sum(1)))


def compute_precision_agreement(
    controls: Sequence[ControlScores], low_precision: Sequence[Scorer]
) -> Float[Tensor, " q"]:
    """Rank correlation of the scores in low precision with those in full, the least of the models'.

    Args:
        controls: of each model, in full precision.
        low_precision: the same models' scorers in low precision.
    """
    return torch.stack(
        [
            compute_model_agreement([full, replace(full, scores=_compute_scores(low))])
            for full, low in zip(controls, low_precision, strict=True)
        ]
    ).amin(0)


def _compute_scores(scorer: Scorer) -> Float[Tensor, "q c"]:
    ids = select_control_ids(len(scorer.train))
    scores = torch.empty(scorer.queries, len(ids))
    for positions in scorer.train.length_buckets(ids):
        for subset, effects in split_on_oom(
            lambda chunk: scorer.compute_effects(ids[chunk]), positions
        ):
            scores[:, subset] = effects.values.cpu().to(scores)
    return scores


def select_control_ids(count: int) -> Int[Tensor, " c"]:
    """Up to 256 of `count` positions, always the same ones.

    >>> ids = select_control_ids(1000)
    >>> len(ids), torch.equal(ids, select_control_ids(1000))
    (256, True)
    """
    generator = torch.Generator().manual_seed(SEED)
    return torch.randperm(count, generator=generator)[:CONTROL_SIZE]


def score_control_sample(
    scorer: GradientScorer,
    gradients: Gradients,
    query_gradients: Float[Tensor, "q p"],
) -> ControlScores:
    """Take the control sample's gradients once, and multiply them with both kinds of rows.

    Where the scores count the leverage of the sample, they take gradients of their own.

    Args:
        scorer: with the solved rows.
        gradients: of the objective.
        query_gradients: the gradients that were solved for.
    """
    train, s_test = scorer.train, scorer.s_test
    ids = select_control_ids(len(train))
    scores = torch.empty(len(s_test), len(ids), dtype=s_test.dtype)
    products = scores.clone()

    def score_positions(places: Tensor) -> None:
        if scorer.weights is not None:
            scores[:, places] = scorer.compute_tile(ids[places]).dot(s_test).cpu()
        tile = gradients.compute_loss_tile(train.take(ids[places]))
        if scorer.weights is None:
            scores[:, places] = tile.dot(s_test).cpu()
        products[:, places] = tile.dot(query_gradients).cpu()

    for batch in train.length_buckets(ids):
        list(split_on_oom(score_positions, batch))
    return ControlScores(scores, products)


def compute_model_agreement(models: Sequence[ControlScores]) -> Float[Tensor, " q"]:
    """Mean Spearman correlation over all pairs of models, of each query's scores.

    1 = the models order the control sample alike; 0 = they have nothing in common. NaN where a
    model gives all examples the same score.
    """
    finite = torch.stack([torch.isfinite(model.scores) for model in models]).all(0).any(0)
    ranks = [
        torch.from_numpy(rankdata(model.scores[:, finite].numpy(), axis=1)) for model in models
    ]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[i + 1 :]]
    return torch.stack([pearson(a, b) for a, b in pairs]).mean(0)
