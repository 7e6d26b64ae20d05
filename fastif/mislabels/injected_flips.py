"""Injected label flips, in a copy: how many of them would a reviewer see?"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.mislabels.detector import Detector
from fastif.mislabels.label_posterior import Suspicions
from fastif.mislabels.labeled_data import UNSEEN, Rows


@dataclass(frozen=True, eq=False)
class Planted:
    """A shadow copy of labels.

    Attributes:
        labels: of all rows, some of them turned.
        rows: positions of these.
        confusable: which of them were turned to a label that suits the row; the others to any.
    """

    labels: Int[Tensor, " n"]
    rows: Int[Tensor, " m"]
    confusable: Bool[Tensor, " m"]


@dataclass(frozen=True)
class Recall:
    """Recall of injected label flips.

    Attributes:
        planted: how many flips, of all draws together.
        budget: first rows of the order that they are counted in.
        any, confusable: share of those turned to any label, and to a likely one, among these rows;
            NaN where there is none of the kind.
    """

    planted: int
    budget: int
    any: float
    confusable: float


def plant(
    rows: Rows,
    belief: Float[Tensor, "n c"],
    share: float,
    seed: int,
    most: int | None = None,
    among: Bool[Tensor, " n"] | None = None,
) -> Planted:
    """Flip the labels of some rows, half to any other label, half to one that suits the row.

    Args:
        rows: whose labels are copied; those that a person has looked at are left alone.
        belief: in each class, that likely labels are drawn by.
        share: of the rows.
        seed: of the draw.
        most: rows that are flipped; all of the share if left out.
        among: rows that may be; all if left out.
    """
    generator = torch.Generator().manual_seed(seed)
    may = torch.ones(len(rows.labels), dtype=torch.bool) if among is None else among
    if rows.known is not None:
        may = may & (rows.known == UNSEEN)
    free = may.nonzero()[:, 0]
    count = min(len(free), max(2, round(share * len(free))))
    count = count if most is None else min(count, most)
    picked = free[torch.randperm(len(free), generator=generator)[:count]]
    confusable = torch.arange(count) % 2 == 0
    own = rows.labels[picked]
    turn = torch.randint(1, rows.classes, (count,), generator=generator)
    chances = belief[picked].clamp_min(1e-9).scatter(1, own[:, None], 0.0)
    likely = torch.multinomial(chances, 1, generator=generator)[:, 0]
    labels = rows.labels.clone()
    labels[picked] = torch.where(confusable, likely, (own + turn) % rows.classes)
    return Planted(labels, picked, confusable)


def recall_of(
    detector: Detector,
    rows: Rows,
    found: Suspicions,
    budget: int,
    share: float = 0.05,
    draws: int = 2,
) -> Recall:
    """Inject label flips, detect, and count those among the first rows of the order.

    A perfect order has a recall of 1 whatever the budget, and one by chance a low one. So no more
    labels are flipped than the budget holds; they are counted among the first `budget` rows, but
    no more than twice the flips; rows that are more likely wrong than right as they are stay as
    they are, since a flip might mend them; and what is more suspicious than the median row before
    any flip takes no place, since it may be an error of the table itself.

    Args:
        detector: the procedure, asked with one partition into folds and as many rounds.
        rows: as they are.
        found: what it found in them.
        budget: rows that a person will look at.
        share: of the rows, flipped in a draw.
        draws: of flips.
    """
    believed = found.probability <= 0.5
    plain = found.probability <= found.probability.median()
    kept, kinds, window = [], [], 0
    for draw in range(draws):
        seed = detector.seed + draw + 1
        planted = plant(rows, found.belief, share, seed, budget, believed)
        turned = replace(rows, labels=planted.labels)
        shadow = detector.quick(found.again)(turned, near=found.near)
        window = min(budget, 2 * len(planted.rows))
        counted = plain.index_fill(0, planted.rows, True)
        order = shadow.probability.where(counted, -1.0).argsort(descending=True, stable=True)
        kept.append(torch.isin(planted.rows, order[:window]))
        kinds.append(planted.confusable)
    hits, likely = torch.cat(kept).float(), torch.cat(kinds)
    return Recall(len(hits), window, float(hits[~likely].mean()), float(hits[likely].mean()))
