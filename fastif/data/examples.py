"""Examples: what a model was trained on or is asked about, taken by position."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fastif.data.arrays import Ids, as_ids, as_tensor, check_batch_size, check_label_count

Batch = Mapping[str, Tensor]
"""Named tensors whose first axis is the example; "labels" holds the targets."""

COLUMN_WEIGHTS = "mix"
"""Key of a batch that holds a weight for each example and root column; see `compute_cotangents`."""

AnyExamples = TypeVar("AnyExamples", bound="Examples")

BATCH_SIZE = 32
"""Examples whose gradients are held at once, unless their table says otherwise."""

FORWARD_BATCH_SIZE = 64
"""Examples in a forward pass that holds no gradients, so that more of them fit."""


class Examples(ABC):
    """A sequence of examples that can be taken in any order.

    Attributes:
        batch_size: examples whose gradients are held at once, and so whatever is computed of them;
            forward passes alone, such as `predict`, have a size of their own. It bounds memory, and
            changes results by rounding only.
    """

    batch_size: int = BATCH_SIZE

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        """The examples at these positions, collated into one batch."""

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        """The cost of each example in tokens; equal unless a class says otherwise."""
        return torch.ones(len(self), dtype=torch.long)

    @property
    def batch_tokens(self) -> int | None:
        """Tokens, padding among them, that a batch may hold; None for as many as there are."""
        return None

    @property
    def equal_lengths(self) -> bool:
        """Whether only examples of equal length share a batch."""
        return False

    def with_batch_size(self: AnyExamples, size: int) -> AnyExamples:
        """The same examples, held once, of which so many share a batch.

        Raises:
            InputError: it is not a whole number of 1 or more.
        """
        check_batch_size(size)
        if size == self.batch_size:
            return self
        other = copy.copy(self)
        object.__setattr__(other, "batch_size", size)  # a frozen dataclass of the user's too
        return other

    def is_same_table(self, other: "Examples") -> bool:
        """Whether both hold the very same objects, but for their batch sizes.

        What keeps nothing in attributes, or some of it in slots, is the same as itself alone.
        """
        if self is other:
            return True
        first, second = (
            {name: value for name, value in vars(table).items() if name != "batch_size"}
            for table in (self, other)
        )
        return (
            type(self) is type(other)
            and not any(getattr(kind, "__slots__", ()) for kind in type(self).__mro__)
            and first.keys() == second.keys() != set()
            and all(value is second[name] for name, value in first.items())
        )

    def subset(self, ids: Ids) -> "ExampleSubset":
        """Those at these positions, in this order.

        Raises:
            InputError: there is no example at one of them.
        """
        return ExampleSubset(self, as_ids(ids, len(self)))

    def batches(
        self, ids: Int[Tensor, " m"] | None = None, size: int | None = None
    ) -> Iterator[tuple[Int[Tensor, " b"], Batch]]:
        """Batches over `ids`, examples of like length together to save padding.

        Args:
            ids: positions, all by default.
            size: examples in a batch, `batch_size` by default.

        Yields:
            The places in `ids` that the batch holds, and the batch.
        """
        ids = all_ids(self) if ids is None else ids
        for places in self.length_buckets(ids, size):
            yield places, self.take(ids[places])

    def length_buckets(
        self, ids: Int[Tensor, " m"] | None = None, size: int | None = None
    ) -> Iterator[Int[Tensor, " b"]]:
        """The places in `ids` that each batch of `batches` holds, without taking any.

        A batch has at most `size` examples, and no more of them than `batch_tokens` has room for
        when all are padded to the longest; one example always has room. Where `equal_lengths` says
        so, all of them are of one length.
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


class TensorExamples(Examples):
    """Examples that already are tensors, or arrays: tables of numbers, images.

    Raises:
        InputError: there are more or fewer labels than inputs, or they are not numbers; or the
            batch size is none.

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
        return {"inputs": self.inputs[ids], "labels": self.labels[ids]}


class WrappedExamples(Examples):
    """Other examples that are batched as they are; what is taken of them a subclass says."""

    def __init__(self, examples: Examples) -> None:
        self.examples, self.batch_size = examples, examples.batch_size

    def __len__(self) -> int:
        return len(self.examples)

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
    """Some of other examples, in the order of `ids`."""

    def __init__(self, examples: Examples, ids: Int[Tensor, " m"]) -> None:
        super().__init__(examples)
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int[Tensor, " m"]:
        return self.examples.lengths[self.ids]

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return self.examples.take(self.ids[ids])


class RelabeledExamples(WrappedExamples):
    """Other examples with other labels.

    Raises:
        InputError: there are more or fewer labels than examples.
    """

    def __init__(self, examples: Examples, labels: Shaped[Tensor, "n *t"]) -> None:
        check_label_count(len(examples), len(labels), "RelabeledExamples")
        super().__init__(examples)
        self.labels = labels

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        return {**batch, "labels": self.labels[ids].to(batch["labels"].device)}


def all_ids(examples: Examples) -> Int[Tensor, " n"]:
    """The positions of all examples."""
    return torch.arange(len(examples))
