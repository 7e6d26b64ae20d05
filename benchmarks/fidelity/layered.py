"""Kernel of the factor rows of a model of linear layers, by products layer by layer.

If a layer has one position an example, ∇W = δ aᵀ, so the product of two gradients is
Σ_layers (δ·δ')(a·a' + 1): a few thousand numbers an example instead of all parameters. This makes
the kernel of the 45,000 factor rows of MNIST affordable, an exact reference that shares no gradient
code with the library.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from benchmarks.fidelity.space import ExampleSpace, outputs_of
from fastif.data.examples import Batch
from fastif.gradients.hooks import GradientOf, capture_layer_grads

RANK, BLOCK, BATCH = 5_000, 250, 500


@dataclass(frozen=True, eq=False)
class Layered:
    """Factor rows as inputs and output gradients of each layer.

    Attributes:
        inputs: Inputs of each layer, [n i], with an appended 1 for the bias.
        deltas: Output gradients of each layer, [n k o].
    """

    inputs: list[Float[Tensor, "n i"]]
    deltas: list[Float[Tensor, "n k o"]]

    @classmethod
    def of(
        cls, objective: fastif.Objective, examples: fastif.Examples, pulled: GradientOf
    ) -> "Layered":
        """Return the factor rows of all examples, in their order."""
        parts = [
            list(_capture_layers(objective, examples.take(ids), pulled))
            for ids in fastif.all_ids(examples).split(BATCH)
        ]
        layers = range(len(parts[0]))
        return cls(*([torch.cat([p[at][side] for p in parts]) for at in layers] for side in (0, 1)))

    def times(self, other: "Layered") -> Float[Tensor, "nk ml"]:
        """Return the products of all pairs of gradients of both."""
        total = 0
        for a, d, b, e in zip(self.inputs, self.deltas, other.inputs, other.deltas, strict=True):
            deltas = d.flatten(0, 1) @ e.flatten(0, 1).T
            deltas = deltas.view(*d.shape[:2], *e.shape[:2])
            total = total + (a @ b.T)[:, None, :, None] * deltas
        assert torch.is_tensor(total)
        return total.flatten(2, 3).flatten(0, 1)

    def select(self, rows: Int[Tensor, " m"]) -> "Layered":
        """Return single gradients by their positions over examples and columns."""
        count = self.deltas[0].shape[1]
        at, column = rows // count, rows % count
        return Layered([a[at] for a in self.inputs], [d[at, column][:, None] for d in self.deltas])

    def squares(self) -> Float[Tensor, " nk"]:
        """Return the squared norms of all gradients."""
        pairs = zip(self.inputs, self.deltas, strict=True)
        return sum(a.square().sum(1)[:, None] * d.square().sum(2) for a, d in pairs).flatten()  # type: ignore[union-attr]


def _capture_layers(
    objective: fastif.Objective, batch: Batch, pulled: GradientOf
) -> Iterator[tuple[Tensor, Tensor]]:
    columns = list(capture_layer_grads(objective, batch, pulled))
    for place, (call, _) in enumerate(columns[0]):
        ones = torch.ones(len(call.inputs), 1)
        yield torch.cat([call.inputs, ones], 1), torch.stack([c[place][1] for c in columns], 1)


def layered_space(
    objective: fastif.Objective, train: fastif.Examples, query_examples: fastif.Examples
) -> ExampleSpace:
    """Return the example space by randomly pivoted Cholesky of the kernel (Chen et al., 2023)."""
    rows = Layered.of(objective, train, "roots")
    factor = _factor(rows)
    values, inner = torch.linalg.eigh(factor.T @ factor)
    values = values.clamp_min(1e-12)
    roots, pulls, logits, labels = outputs_of(objective, train, fastif.all_ids(train))
    owners = torch.arange(len(train)).repeat_interleave(pulls.shape[1])
    return ExampleSpace(
        values,
        (factor @ inner) / values.sqrt(),
        Layered.of(objective, query_examples, "measures").times(rows).double(),
        pulls.flatten(),
        owners,
        roots,
        logits,
        labels,
    )


def _factor(rows: Layered) -> Float[Tensor, "m r"]:
    remaining = rows.squares().double()
    factor, column_count = remaining.new_empty(len(remaining), RANK), 0
    generator = torch.Generator().manual_seed(0)
    while column_count < RANK:
        pivots = torch.multinomial(remaining.clamp_min(0), BLOCK, generator=generator)
        columns = rows.times(rows.select(pivots)).double()
        columns -= factor[:, :column_count] @ factor[pivots, :column_count].T
        block = columns[pivots]
        block.diagonal().add_(1e-9 * block.diagonal().max())
        lower = torch.linalg.cholesky(block)
        new_columns = torch.linalg.solve_triangular(lower, columns.T, upper=False).T
        factor[:, column_count : column_count + BLOCK] = new_columns
        column_count += BLOCK
        remaining = (remaining - new_columns.square().sum(1)).clamp_min(0)
        remaining[pivots] = 0
    return factor
