"""Rows seen in several ways, and how much each way of seeing them counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import Crossing
from fastif.mislabels.features import levelled
from fastif.mislabels.labeled_data import Rows
from fastif.mislabels.noise_model import skill_of

TEXT_MIXES = ((1 / 3, 1 / 3, 1 / 3), (0.0, 1 / 2, 1 / 2), (0.0, 1 / 4, 3 / 4))
"""Weights of an encoder's middle layer, of its last and of words. A middle layer knows more of tone
and of wording, the last more of topics; where the encoder does not know the language, words do."""

MOST = 20_000
"""Rows that are asked which mix says most."""

CROSSING = Crossing(folds=5, repeats=1, penalty=1e-3, seed=0)


@dataclass(frozen=True, eq=False)
class Views:
    """Several views of the same rows, and the ways in which they may be mixed.

    Attributes:
        parts: a view each, of mean 0 and of the same size; see `levelled`.
        mixes: weights of the views that add up to 1. The first is taken where nothing can be told.
        terms: of rows that are texts: of words and of letters; see `terms`.
    """

    parts: tuple[Float[Tensor, "n _"], ...]
    mixes: tuple[tuple[float, ...], ...]
    terms: tuple[csr_matrix, ...] = ()

    @classmethod
    def of(
        cls,
        views: Sequence[Float[Tensor, "n _"]],
        mixes: Sequence[Sequence[float]],
        terms: tuple[csr_matrix, ...] = (),
    ) -> "Views":
        """The views made comparable."""
        levels = tuple(levelled(view) for view in views)
        return cls(levels, tuple(tuple(mix) for mix in mixes), terms)

    def mixed(
        self, mix: Sequence[float], rows: Int[Tensor, " m"] | slice = slice(None)
    ) -> Float[Tensor, "m d"]:
        """The views of some rows side by side, each by its weight; a row's squared length is 1.

        >>> views = Views.of([torch.tensor([[0.0], [2.0]])] * 2, [(1.0, 0.0), (0.75, 0.25)])
        >>> views.mixed(views.mixes[0]).shape, views.mixed(views.mixes[1]).square().sum(1)
        (torch.Size([2, 1]), tensor([1., 1.]))
        """
        both = zip(self.parts, mix, strict=True)
        return torch.cat([part[rows] * weight**0.5 for part, weight in both if weight], 1)

    def most_telling(
        self,
        ids: Int[Tensor, " m"],
        labels: Int[Tensor, " m"],
        classes: int,
        together: Int[Tensor, " m"] | None = None,
    ) -> tuple[float, ...]:
        """The mix from which heads that have not seen a row tell most of its label.

        Args:
            ids: rows that are asked; 20,000 of them if there are more.
            labels: theirs; certain ones if there are, else as given.
            classes: how many there are.
            together: equal for rows that must not judge each other.
        """
        if len(self.mixes) == 1 or len(labels.unique()) < 2:
            return self.mixes[0]
        generator = torch.Generator().manual_seed(CROSSING.seed)
        some = torch.randperm(len(ids), generator=generator)[:MOST].sort().values
        groups = None if together is None else together[some]

        def skill(mix: Sequence[float]) -> float:
            rows = Rows(self.mixed(mix, ids[some]), labels[some], classes, groups)
            return skill_of(CROSSING(rows, one_hot(rows.labels, classes).float()), rows.labels)

        return max(self.mixes, key=skill)
