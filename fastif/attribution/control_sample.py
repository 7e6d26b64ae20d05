"""A fixed sample of training examples on which whole vectors of scores are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.data.examples import places_by_length
from fastif.gradients.per_example import Gradients
from fastif.numerics.correlation import pearson
from fastif.numerics.out_of_memory import in_parts

CONTROL = 256
SEED = 2_718_281_828
"""Not one that a study is likely to draw its own samples with."""


@dataclass(frozen=True, eq=False)
class Control:
    """Scores of the control sample, and what they would be without any curvature.

    Attributes:
        scores: ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train), up to the factor 1/n.
        products: ∇L(query)ᵀ ∇L(train), the plain gradient product.
    """

    scores: Float[Tensor, "q c"]
    products: Float[Tensor, "q c"]

    def correlation(self) -> Float[Tensor, " q"]:
        """Pearson correlation of the scores with the gradient products; NaN where undefined."""
        sound = torch.isfinite(self.scores + self.products).any(0)
        return pearson(self.scores[:, sound], self.products[:, sound])


def held(
    controls: Sequence[Control],
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
    scores = torch.stack([one.scores for one in controls]).mean(0).abs() / count
    drawn = control_ids(count)
    missed = (candidates[:, :, None] != drawn).all(1) & torch.isfinite(scores)
    there = (candidates >= 0) & torch.isfinite(effects)
    mine = effects.abs().masked_fill(~there, 0).sum(1)
    mean = scores.masked_fill(~missed, 0).sum(1) / missed.sum(1).clamp_min(1)
    return mine / (mine + mean * (count - there.sum(1)))


def rounding(
    controls: Sequence[Control], rounded: Sequence[Scorer], batch_size: int
) -> Float[Tensor, " q"]:
    """Rank correlation of the scores in low precision with those in full, the least of the models'.

    Args:
        controls: of each model, in full precision.
        rounded: the same models' scorers in low precision.
        batch_size: training examples whose gradients are held at once.
    """
    return torch.stack(
        [
            agreement([full, replace(full, scores=_scores(low, batch_size))])
            for full, low in zip(controls, rounded, strict=True)
        ]
    ).amin(0)


def _scores(scorer: Scorer, batch_size: int) -> Float[Tensor, "q c"]:
    ids = control_ids(len(scorer.train))
    found = torch.empty(scorer.queries, len(ids))
    for places in places_by_length(scorer.train, ids, batch_size):
        for some, effects in in_parts(lambda part: scorer.effects(ids[part]), places):
            found[:, some] = effects.values.cpu().to(found)
    return found


def control_ids(count: int) -> Int[Tensor, " c"]:
    """Up to 256 of `count` positions, always the same ones.

    >>> len(control_ids(1000)), torch.equal(control_ids(1000), control_ids(1000))
    (256, True)
    """
    generator = torch.Generator().manual_seed(SEED)
    return torch.randperm(count, generator=generator)[:CONTROL]


def control(
    scorer: GradientScorer,
    gradients: Gradients,
    queries: Float[Tensor, "q p"],
    batch_size: int,
) -> Control:
    """Take the control sample's gradients once, and multiply them with both kinds of rows.

    Where the scores count the leverage of the sample, they take gradients of their own.

    Args:
        scorer: with the solved rows.
        gradients: of the objective.
        queries: the gradients that were solved for.
        batch_size: training examples whose gradients are held at once.
    """
    train, s_test = scorer.train, scorer.s_test
    ids = control_ids(len(train))
    scores = torch.empty(len(s_test), len(ids), dtype=s_test.dtype)
    products = scores.clone()

    def take(places: Tensor) -> None:
        if scorer.weights is not None:
            scores[:, places] = scorer.tile(ids[places]).times(s_test).cpu()
        tile = gradients.of_losses(train.take(ids[places]))
        if scorer.weights is None:
            scores[:, places] = tile.times(s_test).cpu()
        products[:, places] = tile.times(queries).cpu()

    for batch in places_by_length(train, ids, batch_size):
        list(in_parts(take, batch))
    return Control(scores, products)


def agreement(models: Sequence[Control]) -> Float[Tensor, " q"]:
    """Mean Spearman correlation over all pairs of models, of each query's scores.

    1 = the models order the control sample alike; 0 = they have nothing in common. NaN where a
    model gives all examples the same score.
    """
    sound = torch.stack([torch.isfinite(one.scores) for one in models]).all(0).any(0)
    ranks = [torch.from_numpy(rankdata(one.scores[:, sound].numpy(), axis=1)) for one in models]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[i + 1 :]]
    return torch.stack([pearson(a, b) for a, b in pairs]).mean(0)
