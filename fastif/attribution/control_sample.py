"""Control sample: a fixed random sample of training examples for correlations of scores."""

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
"""Training examples in the control sample."""
SEED = 2_718_281_828
"""Fixed seed, unlikely to coincide with the seed of a study's own samples."""


@dataclass(frozen=True, eq=False)
class ControlScores:
    """Scores of the control sample, with and without the curvature.

    Attributes:
        scores: Inner products ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train), without the factor 1/n.
        products: Plain gradient products ∇L(query)ᵀ ∇L(train).
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
    """Estimate the share of Σ |removal_effect| over the training set that the candidates capture.

        share = captured / (captured + (n - k) · mean |effect| over sampled non-candidates)

    The control sample is independent of the queries, so the mean over its non-candidates is an
    unbiased estimate for all non-candidates.

    Args:
        controls: Scores of the control sample, one for each model.
        count: Number n of training examples.
        candidates: Positions of the candidates of each query; negative in an empty cell.
        effects: Removal effects of the candidates, in nats.
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
    """Spearman correlation of approximate scores with exact ones; the smallest over the models.

    Args:
        controls: Exact scores of the control sample, one for each model.
        low_precision: Scorers of the same models in reduced precision or rank.
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
    """Return a fixed random sample of up to 256 of `count` positions.

    Examples:
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
    """Score the control sample, with s_test and with the query gradients, in one pass.

    Scores with leverage need weighted gradients, so those are computed separately.

    Args:
        scorer: Scorer that holds s_test.
        gradients: Per-example gradients of the objective.
        query_gradients: Query gradients, the right-hand sides of the solve.
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
    """Mean Spearman correlation of each query's control scores, over all pairs of models.

    1 = the models rank the control sample identically; 0 = their rankings are unrelated. NaN where
    a model gives all examples the same score.
    """
    finite = torch.stack([torch.isfinite(model.scores) for model in models]).all(0).any(0)
    ranks = [
        torch.from_numpy(rankdata(model.scores[:, finite].numpy(), axis=1)) for model in models
    ]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[i + 1 :]]
    return torch.stack([pearson(a, b) for a, b in pairs]).mean(0)
