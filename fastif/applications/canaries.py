"""Labels turned wrong on purpose, in a copy: how many of them would a reviewer see?"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.applications.detector import Detector
from fastif.applications.rows import UNSEEN, Rows
from fastif.applications.suspicions import Suspicions


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
    """What became of canaries.

    Attributes:
        planted: how many, of all draws together.
        budget: rows that a person would look at.
        any, confusable: share of those turned to any label, and to a likely one, among these rows.
    """

    planted: int
    budget: int
    any: float
    confusable: float


def plant(rows: Rows, belief: Float[Tensor, "n c"], share: float, seed: int) -> Planted:
    """Turn the labels of some rows, half to any other label, half to one that suits the row.

    Args:
        rows: whose labels are copied; those that a person has looked at are left alone.
        belief: in each class, that likely labels are drawn by.
        share: of the rows.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    free = torch.arange(len(rows.labels))
    if rows.known is not None:
        free = (rows.known == UNSEEN).nonzero()[:, 0]
    count = min(len(free), max(2, round(share * len(free))))
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
    """Plant canaries, detect, and count those among the `budget` most suspicious rows.

    The copy has more wrong labels than the table, so that fewer than all could be within the
    budget even if every one were seen.

    Args:
        detector: the procedure, asked with one partition into folds and as many rounds.
        rows: as they are.
        found: what it found in them.
        budget: rows that a person will look at.
        share: of the rows, turned in a draw.
        draws: of canaries.
    """
    kept, kinds = [], []
    for draw in range(draws):
        planted = plant(rows, found.belief, share, detector.seed + draw + 1)
        turned = replace(rows, labels=planted.labels)
        shadow = detector.quick(found.again)(turned, near=found.near)
        top = shadow.probability.argsort(descending=True, stable=True)[:budget]
        kept.append(torch.isin(planted.rows, top))
        kinds.append(planted.confusable)
    hits, likely = torch.cat(kept).float(), torch.cat(kinds)
    return Recall(len(hits), budget, float(hits[~likely].mean()), float(hits[likely].mean()))
