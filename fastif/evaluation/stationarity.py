"""Check of a stated training loss: its gradient at the trained weights, and that of others.

At a minimum the mean gradient of the training loss plus the penalty is zero, under the statement
that was minimised and under hardly any other. Training that stops early ends elsewhere: a gradient
that is not zero is no proof of a wrong statement, and only one that is much smaller under another
statement is reported.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.data.examples import Examples
from fastif.data.torch_forms import as_examples
from fastif.errors import InputError
from fastif.evaluation.loss_statements import LossStatement
from fastif.models.objective import Objective
from fastif.models.parameters import Params, make_leaf_params

BLOCKS = 32
"""Number of blocks of rows; the error of the mean gradient is that between them."""
ROWS = 2**14
"""Largest number of rows that are read."""
COORDINATES = 2**17
"""Largest number of parameters whose gradients are compared; of more, a random sample is."""
RATIO = 4.0
"""Ratio of gradient norms from which another statement is reported."""
STANDARD_ERRORS = 3.0
"""Number of standard errors by which the squared norms must differ."""


@dataclass(frozen=True)
class GradientAtWeights:
    """Mean gradient of a training loss at the trained weights.

    Attributes:
        statement: Statement of the loss.
        relative: Norm of the mean gradient with the penalty, divided by the root mean square of the
            gradients of single rows; 0 at a minimum. The sampling noise is subtracted.
        ratio: Norm under the first statement, divided by this one, both relative; at most that of
            a gradient at the noise.
        is_smaller: Whether the gradient is smaller than under the first statement by the factor
            `RATIO` and by `STANDARD_ERRORS` standard errors.
    """

    statement: LossStatement
    relative: float
    ratio: float
    is_smaller: bool


def compare_statements(
    objective: Objective,
    examples: Examples,
    statements: Sequence[LossStatement],
    rows: int = ROWS,
    seed: int = 0,
) -> tuple[GradientAtWeights, ...]:
    """Compare the gradients of training losses at the weights, by a jackknife over blocks of rows.

    One forward pass over a random sample of the rows serves all statements. Gradients are those of
    the attributed parameters.

    Args:
        objective: Trained model; its own loss is not used.
        examples: Training set with the targets of the losses.
        statements: Statements of the loss to compare, the stated one first.
        rows: Largest number of rows that are read.
        seed: Random seed of the sample.

    Returns:
        One result for each statement, in their order.

    Raises:
        InputError: There are fewer than 64 rows, or no statement.
    """
    table = as_examples(examples, "training set")
    if len(table) < 2 * BLOCKS or not statements:
        raise InputError(
            "training set",
            f"{2 * BLOCKS} rows or more, and a statement of the loss",
            f"{len(table)} rows, {len(statements)} statements",
            "Give more rows of the training set.",
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(table), generator=generator)[: max(rows, 2 * BLOCKS)]
    coordinates = _sample_coordinates(objective, generator)
    parts = order.tensor_split(BLOCKS)
    blocks = torch.stack(
        [_compute_gradients(objective, table, ids, statements, coordinates) for ids in parts], 1
    )
    weights = _flatten(objective.params, coordinates).double()
    sizes = torch.tensor([len(ids) for ids in parts], dtype=torch.float64)
    missing = 1 - len(order) / len(table)  # no sampling error in the mean over all rows
    return tuple(_judge(statements, blocks, weights, sizes, missing))


def _judge(
    statements: Sequence[LossStatement],
    blocks: Float[Tensor, "s k d"],
    weights: Float[Tensor, " d"],
    sizes: Float[Tensor, " k"],
    missing: float,
) -> Iterator[GradientAtWeights]:
    """Yield the result of each statement, from the mean gradients of the blocks."""
    squared, left_out = [], []
    for statement, gradients in zip(statements, blocks, strict=True):
        decay = statement.penalty * weights
        squared.append(_compute_squared_ratio(gradients, decay, sizes, missing))
        without_block = [
            _compute_squared_ratio(gradients[kept], decay, sizes[kept], missing)
            for kept in ~torch.eye(BLOCKS, dtype=torch.bool)
        ]
        left_out.append(torch.tensor(without_block, dtype=torch.float64))
    for place, statement in enumerate(statements):
        error = _compute_error(left_out[0] - left_out[place], missing)
        limit = max(squared[place], _compute_error(left_out[place], missing))
        ratio = math.sqrt(max(squared[0], 0.0) / limit) if limit else math.nan
        is_apart = squared[0] - squared[place] > STANDARD_ERRORS * error
        relative = math.sqrt(max(squared[place], 0.0))
        yield GradientAtWeights(statement, relative, ratio, is_apart and ratio >= RATIO)


def _compute_error(values: Float[Tensor, " k"], missing: float) -> float:
    """Standard error of the jackknife."""
    spread = (values - values.mean()).square().sum() * (len(values) - 1) / len(values)
    return math.sqrt(float(spread) * missing)


def _compute_squared_ratio(
    gradients: Float[Tensor, "k d"],
    decay: Float[Tensor, " d"],
    sizes: Float[Tensor, " k"],
    missing: float,
) -> float:
    """Squared norm of the mean gradient without noise, divided by the mean square of a row's."""
    mean = sizes @ gradients / sizes.sum()
    trace = float(sizes @ (gradients - mean).square().sum(1)) / (len(gradients) - 1)
    noise = trace / float(sizes.sum()) * missing
    scale = trace + float(mean.square().sum())
    squared = float((mean + decay).square().sum()) - noise
    return squared / scale if scale > 0 else 0.0


def _compute_gradients(
    objective: Objective,
    table: Examples,
    ids: Int[Tensor, " b"],
    statements: Sequence[LossStatement],
    coordinates: Sequence[Int[Tensor, " c"]],
) -> Float[Tensor, "s d"]:
    """Return the mean gradient of the rows under each statement, in double precision."""
    count = sum(len(kept) for kept in coordinates)
    totals = torch.zeros(len(statements), count, dtype=torch.float64)
    for _, batch in table.batches(ids):
        leaves = make_leaf_params(objective.params)
        with torch.enable_grad():
            outputs = objective.outputs(leaves, batch)
            losses = [
                statement.loss(outputs, batch["labels"]).sum() / len(ids)
                for statement in statements
            ]
        for place, loss in enumerate(losses):
            gradients = torch.autograd.grad(
                loss, tuple(leaves.values()), retain_graph=True, allow_unused=True
            )
            filled = {
                name: torch.zeros_like(leaf) if gradient is None else gradient
                for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
            }
            totals[place] += _flatten(filled, coordinates).double()
    return totals


def _sample_coordinates(
    objective: Objective, generator: torch.Generator
) -> list[Int[Tensor, " c"]]:
    """Positions in each parameter, all of them or a random share."""
    share = min(1.0, COORDINATES / objective.space.size)
    positions = []
    for tensor in objective.params.values():
        count = tensor.numel()
        kept = torch.arange(count)
        if share < 1:
            sample = torch.randint(count, (math.ceil(share * count),), generator=generator)
            kept = sample.unique()
        positions.append(kept.to(tensor.device))
    return positions


def _flatten(params: Params, coordinates: Sequence[Int[Tensor, " c"]]) -> Float[Tensor, " d"]:
    parts = [
        tensor.detach().flatten()[kept]
        for tensor, kept in zip(params.values(), coordinates, strict=True)
    ]
    return torch.cat(parts).cpu()
