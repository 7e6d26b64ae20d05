"""Several trainings of one model, asked together."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from fastif.attribution.attribution import Attribution
from fastif.attribution.attributor import Attributor, attribute
from fastif.data.arrays import Ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.models.prefix_cache import PrefixCache


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The mean answer of several checkpoints or seeds of the same training, and its spread.

        score = 1/m Σ_j removal_effect_j        spread = standard deviation over the m models

    A single training is one draw; what the draws agree on is what the data did. The search of the
    first member chooses the candidates for all; in a full scan the rows kept are the most extreme
    of the mean. The certificate is the worst of the members', and its `agreement` says how alike
    they order a control sample of training examples. A query that one member cannot solve is
    quarantined.

    Memory: the s_test of every member, m x q x p, and a workspace of batch x p each; never a matrix
    of q x n.

    Args:
        members: attributors of the same training examples, each with its own objective, operator
            and factor, and with its own cache of them if any.
        left_out: places of members that are not in the mean, as those that `find_clearly_worse`
            names. The first one still searches the candidates if it is among them.

    Raises:
        InputError: no member is left, or members with different numbers of training examples.

    >>> import torch
    >>> from fastif import Direct, GaussNewton, ModuleObjective, SquaredError, TensorExamples
    >>> train = TensorExamples(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]))
    >>> members = []
    >>> for weight in (1.0, 3.0):
    ...     model = torch.nn.Linear(1, 1, bias=False)
    ...     model.weight.data[:] = weight
    ...     objective = ModuleObjective(model, SquaredError())
    ...     curvature = GaussNewton(objective, train).with_damping(1.0)
    ...     members.append(Attributor(objective, train, curvature, Direct(), leverage="off"))
    >>> influences = Ensemble(members)(train, torch.tensor([0])).influences
    >>> influences.removal_effect, influences.spread  # 1/2 · (2w)(8w) / (5 + 1): 1.33 w² for row 1
    (tensor([[1.6667, 6.6667]]), tensor([[1.8856, 7.5425]]))
    """

    members: Sequence[Attributor]
    left_out: Sequence[int] = ()

    def __post_init__(self) -> None:
        counts = {len(member.train) for member in self.members}
        if len(counts) != 1:
            raise InputError(
                "members of an ensemble",
                "one or more, all with the same training examples",
                f"{len(self.members)} with {sorted(counts)} training examples",
                "Give every member the same training set.",
            )
        if not self.averaged_members:
            raise InputError(
                "members of an ensemble",
                "one or more in the mean",
                f"{len(self.members)}, all of them left out",
                "Leave out fewer.",
            )

    @property
    def averaged_members(self) -> list[Attributor]:
        """The members that are in the mean."""
        return [
            member for position, member in enumerate(self.members) if position not in self.left_out
        ]

    def __call__(
        self,
        queries: ExamplesLike,
        ids: Ids | None = None,
        slices: Int[Tensor, " q"] | None = None,
    ) -> Attribution:
        """Attribute the queries at these positions, or all; with `slices`, also `SliceTotals`.

        Raises:
            InputError: the queries are one model's hidden states, which the others misread.
        """
        if isinstance(queries, PrefixCache) and len(self.members) > 1:
            raise InputError(
                "queries of an ensemble",
                "examples that every member can read",
                "a PrefixCache, which holds the hidden states of one of them",
                "Give the examples that it was made of.",
            )
        return attribute(self.averaged_members, queries, ids, slices, self.members[0])
