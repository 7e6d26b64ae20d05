"""Ensemble: removal effects averaged over several trainings of one model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.attribution import Attribution
from fastif.attribution.member import MakeRanking, Member, attribute
from fastif.attribution.ranking import GradientCosines, ScaledEffects
from fastif.attribution.scan_device import FurtherDevices
from fastif.data.arrays import Ids
from fastif.data.torch_forms import ExamplesLike, as_examples
from fastif.errors import InputError
from fastif.models.prefix_cache import PrefixCache


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Influence averaged over an ensemble of trainings (seeds or checkpoints), with its spread.

        score = 1/m Σ_j removal_effect_j        spread = standard deviation over the m models

    The effects of a single training depend on its seed; the mean over several trainings keeps what
    they agree on. The first member's search selects the candidates for all members. A full scan
    keeps the top-k and bottom-k of the mean. The certificate holds the worst number of the members,
    and its `agreement` is the rank correlation of their scores. A query that one member cannot
    solve is quarantined.

    Memory: s_test of every member, m x q x p, and a workspace of batch x p each; never a matrix of
    q x n.

    Args:
        members: Attributors of the same training examples, each with its own objective, operator
            and factor, and with its own hidden-state cache if any.
        left_out: Positions of members that are excluded from the mean, such as the result of
            `find_clearly_worse`. The first member selects the candidates even if it is excluded.
        row_scale: Positive factor [n] of each training example, by which its scores are multiplied
            before they are ordered, such as a power of the norm of its effects (RelatIF, Barshan et
            al., 2020); see `Influences.ranking_score`. None orders by the removal effect.
        by_cosine: Whether examples are ordered by the gradient cosines of the first member in the
            mean (`GradientCosines`); the removal effects stay those of the mean.

    Raises:
        InputError: No member is left, the members have different numbers of training examples,
            `row_scale` is not one positive finite number a training example, or the order is to be
            by a scale and by cosines.

    Examples:
        >>> import torch
        >>> from fastif import Attributor, Direct, Ensemble, GaussNewton, ModuleObjective
        >>> from fastif import SquaredError, TensorExamples
        >>> train = TensorExamples(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]))
        >>> members = []
        >>> for weight in (1.0, 3.0):
        ...     model = torch.nn.Linear(1, 1, bias=False)
        ...     model.weight.data[:] = weight
        ...     objective = ModuleObjective(model, SquaredError())
        ...     curvature = GaussNewton(objective, train).with_damping(1.0)
        ...     members.append(Attributor(objective, train, curvature, Direct(), leverage="off"))
        >>> influences = Ensemble(members)(train, torch.tensor([0])).influences
        >>> influences.removal_effect, influences.spread  # row 1: 1/2 · (2w)(8w) / (5 + 1)
        (tensor([[1.6667, 6.6667]]), tensor([[1.8856, 7.5425]]))
    """

    members: Sequence[Member]
    left_out: Sequence[int] = ()
    row_scale: Float[Tensor, " n"] | None = None
    by_cosine: bool = False

    def __post_init__(self) -> None:
        counts = {len(member.train) for member in self.members}
        if len(counts) != 1:
            raise InputError(
                "members of an ensemble",
                "one member or more, all with the same training examples",
                f"{len(self.members)} with {sorted(counts)} training examples",
                "Give every member the same training set.",
            )
        if not self.averaged_members:
            raise InputError(
                "members of an ensemble",
                "at least one member in the mean",
                f"{len(self.members)} members, all of them in left_out",
                "Leave out fewer members.",
            )
        if self.row_scale is not None:
            _check_row_scale(self.row_scale, counts.pop())
            if self.by_cosine:
                raise InputError(
                    "ranking of an ensemble",
                    "either row_scale or by_cosine",
                    "both",
                    "Omit row_scale: cosines do not depend on the length of a gradient.",
                )

    @property
    def averaged_members(self) -> list[Member]:
        """Members that enter the mean."""
        return [
            member for position, member in enumerate(self.members) if position not in self.left_out
        ]

    def __call__(
        self,
        queries: ExamplesLike,
        ids: Ids | None = None,
        slices: Int[Tensor, " q"] | None = None,
        further: FurtherDevices | None = None,
    ) -> Attribution:
        """Attribute the queries at the given positions, or all queries.

        Args:
            queries: Examples to explain, in a form that every member reads.
            ids: Positions of q queries in `queries`; all by default.
            slices: Slice number [q] of each query, from 0. With it a full scan also returns
                `SliceTotals`.
            further: Devices that share a full scan, with a copy of each model in the mean.

        Returns:
            Mean influences, their certificate and totals of the q queries.

        Raises:
            InputError: The queries are cached hidden states of one model, which the others cannot
                read.
        """
        if isinstance(queries, PrefixCache) and len(self.members) > 1:
            raise InputError(
                "queries of an ensemble",
                "examples that every member can read",
                "a PrefixCache, which holds the hidden states of one member",
                "Give the examples from which the cache was made.",
            )
        return attribute(
            self.averaged_members,
            queries,
            ids,
            slices,
            self.members[0],
            self._make_ranking,
            further,
        )

    @property
    def _make_ranking(self) -> MakeRanking | None:
        member, scale = self.averaged_members[0], self.row_scale
        if self.by_cosine:
            train = as_examples(member.train, "training set")
            return lambda queries, ids: GradientCosines.of_queries(
                member.gradients, train, queries, ids
            )
        return None if scale is None else lambda *_: ScaledEffects(scale)


def _check_row_scale(row_scale: Tensor, count: int) -> None:
    """Refuse scales that are not positive finite numbers, in single precision too."""
    values = row_scale.float()
    invalid = (~torch.isfinite(values) | (values <= 0)).sum()
    if row_scale.shape != (count,) or bool(invalid):
        raise InputError(
            "row_scale of an ensemble",
            f"one positive finite number for each of the {count} training examples",
            f"shape {list(row_scale.shape)}, {int(invalid)} numbers not positive and finite",
            "Give rows without a norm the scale 1.",
        )
