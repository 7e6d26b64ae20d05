"""Kinds of label noise that are injected into tables with right labels.

Each function returns the rows of the noisy table, as positions in the clean one, and their labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.linear_head import fit_linear_head

WEAK_ROWS = 100
"""Number of rows that the weak classifier of text-dependent noise is trained on."""

WEAK_PENALTY = 1e-3
"""L2 penalty of the weak classifier."""


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Rows and labels of a noisy table.

    Attributes:
        rows: Position of each row in the clean table, [m]; more than once for duplicates.
        labels: Label of each row, [m].
    """

    rows: Int[Tensor, " m"]
    labels: Int[Tensor, " m"]


@dataclass(frozen=True, eq=False)
class CleanLabels:
    """Right labels, and what noise may depend on.

    Attributes:
        labels: Right label of each row, [n].
        classes: Number of classes c.
        features: Features of the rows, [n, d].
        seed: Random seed of the noise.
    """

    labels: Int[Tensor, " n"]
    classes: int
    features: Float[Tensor, "n d"]
    seed: int

    @property
    def generator(self) -> torch.Generator:
        """Random generator with the seed of these labels."""
        return torch.Generator().manual_seed(self.seed)


Noise = Callable[[CleanLabels], NoisyLabels]


def flip_uniformly(clean: CleanLabels, share: float) -> NoisyLabels:
    """Flip a random sample of the labels to uniformly random other classes."""
    generator = clean.generator
    rows = _sample(len(clean.labels), share, generator)
    offset = torch.randint(1, clean.classes, (len(rows),), generator=generator)
    return _change(clean, rows, (clean.labels[rows] + offset) % clean.classes)


def flip_pairs(clean: CleanLabels, share: float) -> NoisyLabels:
    """Flip a random sample of the labels to the next class."""
    rows = _sample(len(clean.labels), share, clean.generator)
    return _change(clean, rows, (clean.labels[rows] + 1) % clean.classes)


def flip_one_class(clean: CleanLabels, share: float) -> NoisyLabels:
    """Flip a share of the labels of the largest class to the second largest one."""
    first, second = clean.labels.bincount(minlength=clean.classes).argsort(descending=True)[:2]
    members = (clean.labels == first).nonzero()[:, 0]
    rows = members[_sample(len(members), share, clean.generator)]
    return _change(clean, rows, second.expand(len(rows)))


def flip_confusable(clean: CleanLabels, share: float) -> NoisyLabels:
    """Flip labels to the class that a weak classifier prefers, the likelier the more it does."""
    logits = _predict_weakly(clean)
    others = logits.scatter(1, clean.labels[:, None], -torch.inf)
    best, other = others.max(1)
    odds = best - logits.gather(1, clean.labels[:, None])[:, 0]
    weights = (odds / odds.std()).mul(2).sigmoid()
    count = round(share * len(clean.labels))
    rows = torch.multinomial(weights, count, generator=clean.generator)
    return _change(clean, rows, other[rows])


def label_weakly(clean: CleanLabels) -> NoisyLabels:
    """Label all rows by a weak classifier that was trained on a hundred of them."""
    logits = _predict_weakly(clean)
    return NoisyLabels(torch.arange(len(clean.labels)), logits.argmax(1))


def contradict_duplicates(clean: CleanLabels, share: float) -> NoisyLabels:
    """Add a second copy of a random sample of the rows, with another label."""
    generator = clean.generator
    rows = _sample(len(clean.labels), share, generator)
    offset = torch.randint(1, clean.classes, (len(rows),), generator=generator)
    wrong = (clean.labels[rows] + offset) % clean.classes
    return NoisyLabels(
        torch.cat([torch.arange(len(clean.labels)), rows]), torch.cat([clean.labels, wrong])
    )


KINDS: dict[str, Noise] = {
    "uniform 5 %": lambda clean: flip_uniformly(clean, 0.05),
    "uniform 20 %": lambda clean: flip_uniformly(clean, 0.2),
    "pairs 20 %": lambda clean: flip_pairs(clean, 0.2),
    "one class 40 %": lambda clean: flip_one_class(clean, 0.4),
    "confusable 15 %": lambda clean: flip_confusable(clean, 0.15),
    "weak labels": label_weakly,
    "duplicates 30 %": lambda clean: contradict_duplicates(clean, 0.3),
}
"""Kinds of noise by name."""


def _sample(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[: round(share * count)]


def _change(clean: CleanLabels, rows: Tensor, labels: Tensor) -> NoisyLabels:
    changed = clean.labels.clone()
    changed[rows] = labels
    return NoisyLabels(torch.arange(len(changed)), changed)


def _predict_weakly(clean: CleanLabels) -> Float[Tensor, "n c"]:
    """Return logits of a classifier that was trained on a few random rows, of all classes."""
    order = torch.randperm(len(clean.labels), generator=clean.generator)
    first = [int((clean.labels[order] == t).nonzero()[0, 0]) for t in clean.labels.unique()]
    rows = order[torch.tensor([*first, *range(WEAK_ROWS)]).unique()]
    targets = one_hot(clean.labels[rows], clean.classes).float()
    return fit_linear_head(clean.features[rows], targets, WEAK_PENALTY)(clean.features)
