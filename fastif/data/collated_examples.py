"""Examples of any rows, turned into tensors batch by batch by a collate function."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fastif.data.arrays import as_tensor, check_batch_size, check_label_count, format_type_name
from fastif.data.examples import BATCH_SIZE, COLUMN_WEIGHTS, Batch, LabeledExamples
from fastif.errors import InputError
from fastif.numerics.transfer import send

Collate = Callable[[list[Any]], Any]
"""Function from a list of rows to the inputs of a module: one tensor, or tensors by the names of
its arguments, with the row as first axis."""

RESERVED = ("labels", COLUMN_WEIGHTS, "hidden")
"""Keys of a batch with a meaning of their own."""


class CollatedExamples(LabeledExamples):
    """Examples of any rows, turned into tensors batch by batch by a collate function.

    The inputs of a row must not depend on the other rows of its batch. Audits compare the outputs
    of some batches with those of single rows, and refuse a model for which they differ.

    Args:
        rows: Rows in any form that the function takes; read by position.
        labels: Targets [n *t], in the form that the loss expects.
        collate: Function from a list of rows to a tensor, the single argument of the module, or to
            a mapping of tensors, its keyword arguments.
        device: Device of the batches.
        batch_size: Number of examples whose gradients are held at once.

    Raises:
        InputError: The numbers of rows and labels differ, or the batch size is below 1; from
            `take`, if the function fails, or returns something else than tensors with one entry a
            row.

    Examples:
        >>> rows = [{"age": 30.0}, {"age": 50.0}]
        >>> def collate(rows):
        ...     return torch.tensor([[row["age"]] for row in rows])
        >>> CollatedExamples(rows, torch.tensor([0, 1]), collate).take(torch.tensor([1]))
        {'inputs': tensor([[50.]]), 'labels': tensor([1])}
    """

    def __init__(
        self,
        rows: Sequence[Any],
        labels: Shaped[Tensor, "n *t"],
        collate: Collate,
        device: torch.device | str = "cpu",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        check_batch_size(batch_size)
        self.rows, self.collate, self.device, self.batch_size = rows, collate, device, batch_size
        self.labels = as_tensor(labels, "CollatedExamples: labels")
        check_label_count(len(rows), len(self.labels), "CollatedExamples")

    def __len__(self) -> int:
        return len(self.rows)

    def to_device(self, device: torch.device | str) -> "CollatedExamples":
        other = copy.copy(self)
        other.device = device
        return other

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        rows = [self.rows[i] for i in ids.tolist()]
        try:
            collated = self.collate(rows)
        except Exception as error:  # code of the user may raise anything
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            remedy = "Correct the function, or the rows that it cannot read."
            raise InputError("collate function", "tensors for each row", got, remedy) from error
        inputs = {"inputs": collated} if isinstance(collated, Tensor) else collated
        _check_inputs(inputs, len(ids))
        batch = {**inputs, "labels": self.labels[ids]}
        return {name: send(tensor, self.device) for name, tensor in batch.items()}


def _check_inputs(inputs: object, count: int) -> None:
    """Refuse what is not a mapping of tensors with one entry for each row.

    Raises:
        InputError: With what the collate function returned.
    """
    expected = f"a tensor, or tensors by name, with {count} rows"
    if not isinstance(inputs, Mapping) or not inputs:
        raise _make_error(expected, format_type_name(inputs))
    for name, tensor in inputs.items():
        if not isinstance(tensor, Tensor):
            raise _make_error(expected, f"{format_type_name(tensor)} for {name!r}")
        if not isinstance(name, str) or name in RESERVED:
            raise _make_error("names of the module's arguments", f"the name {name!r}")
        if tensor.dim() == 0 or len(tensor) != count:
            raise _make_error(expected, f"shape {tuple(tensor.shape)} for {name!r}")


def _make_error(expected: str, got: str) -> InputError:
    remedy = (
        "Return the inputs of the module alone, one entry for each row; labels come from the table."
    )
    return InputError("collate function", expected, got, remedy)
