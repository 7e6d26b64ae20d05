"""Rows of a workload as data loaders, subsets and truncated batches."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from benchmarks.peers.plain import Plain


def has_mask(inputs: Sequence[Tensor]) -> bool:
    """Return whether the last input is an attention mask."""
    return len(inputs) > 1


def crop(rows: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return a batch (*inputs, labels), truncated to its longest sequence."""
    *inputs, labels = default_collate(list(rows))
    if has_mask(inputs):
        longest = int(inputs[-1].sum(1).max())
        inputs = [tensor[:, :longest] for tensor in inputs]
    return (*inputs, labels)


def loader(inputs: Sequence[Tensor], labels: Tensor, size: int) -> DataLoader:
    """Return a loader of batches (*inputs, labels) of `size`, in order."""
    return DataLoader(TensorDataset(*inputs, labels), batch_size=size, collate_fn=crop)


def train_loader(plain: Plain, size: int) -> DataLoader:
    """Return the loader of the training rows."""
    return loader(plain.train_inputs, plain.train_labels, size)


def query_loader(plain: Plain, size: int) -> DataLoader:
    """Return the loader of the queries."""
    return loader(plain.query_inputs, plain.query_labels, size)


def some_rows(plain: Plain, count: int | None, seed: int) -> Plain:
    """Return the workload with `count` random training rows, or all for None.

    For peers that would take hours for the curvature of all rows.
    """
    n = len(plain.train_labels)
    if count is None or count >= n:
        return plain
    sampled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].sort().values
    return _train_rows(plain, sampled)


def by_length(plain: Plain) -> tuple[Plain, Int[Tensor, " q"], Int[Tensor, " n"]]:
    """Return the workload with the longest rows first, and the original positions."""
    if not has_mask(plain.train_inputs):
        return plain, torch.arange(len(plain.query_labels)), torch.arange(len(plain.train_labels))
    train = plain.train_inputs[-1].sum(1).argsort(descending=True, stable=True)
    query = plain.query_inputs[-1].sum(1).argsort(descending=True, stable=True)
    ordered = replace(
        _train_rows(plain, train),
        query_inputs=tuple(tensor[query] for tensor in plain.query_inputs),
        query_labels=plain.query_labels[query],
    )
    return ordered, query, train


def restore_order(
    scores: Float[Tensor, "q n"], query: Int[Tensor, " q"], train: Int[Tensor, " n"]
) -> Float[Tensor, "q n"]:
    """Undo the order of `by_length`.

    >>> restore_order(torch.tensor([[1.0, 2.0]]), torch.tensor([0]), torch.tensor([1, 0]))
    tensor([[2., 1.]])
    """
    back = scores.new_empty(scores.shape)
    back[query[:, None], train[None]] = scores
    return back


def last_linear(model: nn.Module) -> nn.Linear:
    """Return the last linear layer."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]


def _train_rows(plain: Plain, ids: Int[Tensor, " m"]) -> Plain:
    return replace(
        plain,
        train_inputs=tuple(tensor[ids] for tensor in plain.train_inputs),
        train_labels=plain.train_labels[ids],
    )
