"""Examples: training sets and queries, read in batches by position."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fastif.data.arrays import Ids, as_ids, as_tensor, check_batch_size, check_label_count
from fastif.numerics.transfer import send

Batch = Mapping[str, Tensor]
"""Named tensors with the example as first axis; "labels" holds the targets."""

COLUMN_WEIGHTS = "mix"
"""Batch key of the weights [b c] of each example's factor columns; see `compute_cotangents`."""

READING = ("batch_size", "lookahead")
"""Attributes that decide how examples are read, and not which."""

AnyExamples = TypeVar("AnyExamples", bound="Examples")

BATCH_SIZE = 32
"""Default number of examples whose gradients are held at once."""

FORWARD_BATCH_SIZE = 64
"""Default number of examples in a forward pass without gradients."""


class Examples(ABC):
    """Table of examples, read in any order by position. Subclass it for data of your own.

    A subclass defines `__len__` and `take`; the other members have defaults.

    Attributes:
        batch_size: Number of examples whose gradients are held at once. It bounds memory, and
            changes results by rounding only. Forward passes, such as `predict`, have a separate
            size.

    Examples:
        >>> class Squares(Examples):
        ...     def __len__(self):
        ...         return 3
        ...
        ...     def take(self, ids):
        ...         return {"inputs": ids[:, None].float(), "labels": (ids**2)[:, None].float()}
        >>> next(Squares().batches(size=2))[1]["labels"]
        tensor([[0.],
                [1.]])
    """

    batch_size: int = BATCH_SIZE

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        """Return the examples at the given positions, collated into one batch."""

    def take_targets(self, ids: Int[Tensor, " b"]) -> Batch:
        """Return what a batch needs next to hidden states of frozen layers; all by default.

        Examples that are costly to read may leave out what the frozen layers alone read.
        """
        return self.take(ids)

    def announce(self, ids: Int[Tensor, " b"]) -> None:
        """Announce the next batch, which may be read ahead; without effect by default."""
        return None

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        """Cost [n] of each example in tokens; 1 for every example unless a subclass defines it."""
        return torch.ones(len(self), dtype=torch.long)

    @property
    def batch_tokens(self) -> int | None:
        """Largest number of tokens in a batch, including padding; None for no limit."""
        return None

    @property
    def equal_lengths(self) -> bool:
        """Whether only examples of equal length share a batch."""
        return False

    @property
    def truncated(self) -> Bool[Tensor, " n"]:
        """Whether each example was longer than the model reads; False unless a subclass says so."""
        return torch.zeros(len(self), dtype=torch.bool)

    def with_equal_lengths(self: AnyExamples, enabled: bool = True) -> AnyExamples:
        """Return a view with batches of equal lengths; the examples themselves by default."""
        return self

    def to_device(self: AnyExamples, device: torch.device | str) -> AnyExamples:
        """Return a view with batches on another device; the examples themselves by default."""
        return self

    def with_batch_size(self: AnyExamples, size: int) -> AnyExamples:
        """Return a view of the same examples with another batch size.

        Raises:
            InputError: The size is not a whole number of 1 or more.
        """
        check_batch_size(size)
        if size == self.batch_size:
            return self
        other = copy.copy(self)
        object.__setattr__(other, "batch_size", size)  # works for frozen dataclasses as well
        return other

    def is_same_table(self, other: "Examples") -> bool:
        """Whether both hold identical objects in all attributes but the batch size.

        Examples without attributes, or with slots, equal themselves only.
        """
        if self is other:
            return True
        first, second = (
            {name: value for name, value in vars(table).items() if name not in READING}
            for table in (self, other)
        )
        return (
            type(self) is type(other)
            and not any(getattr(kind, "__slots__", ()) for kind in type(self).__mro__)
            and first.keys() == second.keys() != set()
            and all(value is second[name] for name, value in first.items())
        )

    def subset(self, ids: Ids) -> "ExampleSubset":
        """Return the examples at the given positions, in this order.

        Raises:
            InputError: A position is out of range.
        """
        return ExampleSubset(self, as_ids(ids, len(self)))

    def batches(
        self, ids: Int[Tensor, " m"] | None = None, size: int | None = None
    ) -> Iterator[tuple[Int[Tensor, " b"], Batch]]:
        """Iterate over batches of `ids`, with examples of similar length together to save padding.

        Args:
            ids: Positions; all by default.
            size: Number of examples in a batch; `batch_size` by default.

        Yields:
            The indices into `ids` of the batch's examples, and the batch.
        """
        ids = all_ids(self) if ids is None else ids
        for places in self.announced_buckets(ids, size):
            yield places, self.take(ids[places])

    def announced_buckets(
        self, ids: Int[Tensor, " m"], size: int | None = None
    ) -> Iterator[Int[Tensor, " b"]]:
        """Iterate over `length_buckets`, and announce the batch after each one."""
        for places, following in pairwise([*self.length_buckets(ids, size), None]):
            if following is not None:
                self.announce(ids[following])
            if places is not None:
                yield places

    def length_buckets(
        self, ids: Int[Tensor, " m"] | None = None, size: int | None = None
    ) -> Iterator[Int[Tensor, " b"]]:
        """Iterate over the indices into `ids` of each batch of `batches`, without reading examples.

        A batch has at most `size` examples, and at most `batch_tokens` tokens after padding to the
        longest, but at least one example. With `equal_lengths` all examples of a batch have one
        length.
        """
        size = self.batch_size if size is None else size
        check_batch_size(size)
        lengths = self.lengths if ids is None else self.lengths[ids]
        order = torch.argsort(lengths, descending=True, stable=True)
        groups = [order]
        if self.equal_lengths:
            groups = order.split(lengths[order].unique_consecutive(return_counts=True)[1].tolist())
        for group in groups:
            start, tokens = 0, self.batch_tokens
            while start < len(group):
                capacity = size if tokens is None else tokens // max(1, int(lengths[group[start]]))
                yield group[start : start + max(1, min(size, capacity))]
                start += max(1, min(size, capacity))


class LabeledExamples(Examples):
    """Examples whose labels are in memory.

    Attributes:
        labels: Targets [n *t], in the form that the loss expects.
    """

    labels: Shaped[Tensor, "n *t"]


class TensorExamples(LabeledExamples):
    """Examples held as tensors or arrays: tables of numbers, images, embeddings.

    Args:
        inputs: Inputs [n *x], one row for each example.
        labels: Targets [n *t], in the form that the loss expects.
        batch_size: Number of examples whose gradients are held at once.

    Raises:
        InputError: The numbers of inputs and labels differ, a value is not a number, or the batch
            size is below 1.

    Examples:
        >>> rows = TensorExamples(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]))
        >>> rows.take(torch.tensor([2]))
        {'inputs': tensor([[4., 5.]]), 'labels': tensor([0])}
    """

    def __init__(
        self,
        inputs: Shaped[Tensor, "n *x"] | np.ndarray | list,
        labels: Shaped[Tensor, "m *t"] | np.ndarray | list,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        check_batch_size(batch_size)
        self.batch_size = batch_size
        self.inputs = as_tensor(inputs, "TensorExamples: inputs")
        self.labels = as_tensor(labels, "TensorExamples: labels")
        check_label_count(len(self.inputs), len(self.labels), "TensorExamples")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        columns = {"inputs": self.inputs, "labels": self.labels}
        return {name: tensor[send(ids, tensor.device)] for name, tensor in columns.items()}


class WrappedExamples(Examples):
    """Examples with the batching of other examples; a subclass defines `take`."""

    def __init__(self, examples: Examples) -> None:
        self.examples, self.batch_size = examples, examples.batch_size

    def __len__(self) -> int:
        return len(self.examples)

    def announce(self, ids: Int[Tensor, " b"]) -> None:
        self.examples.announce(ids)

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        return self.examples.lengths

    @property
    def batch_tokens(self) -> int | None:
        return self.examples.batch_tokens

    @property
    def equal_lengths(self) -> bool:
        return self.examples.equal_lengths


class ExampleSubset(WrappedExamples):
    """Subset of other examples, in the order of `ids`."""

    def __init__(self, examples: Examples, ids: Int[Tensor, " m"]) -> None:
        super().__init__(examples)
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def announce(self, ids: Int[Tensor, " b"]) -> None:
        self.examples.announce(self.ids[ids])

    @property
    def lengths(self) -> Int[Tensor, " m"]:
        return self.examples.lengths[self.ids]

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return self.examples.take(self.ids[ids])

    def take_targets(self, ids: Int[Tensor, " b"]) -> Batch:
        return self.examples.take_targets(self.ids[ids])


def all_ids(examples: Examples) -> Int[Tensor, " n"]:
    """Positions 0 to n - 1 of all examples, in order.

    Examples:
        >>> all_ids(TensorExamples([[1.0], [2.0]], [0, 1]))
        tensor([0, 1])
    """
    return torch.arange(len(examples))
