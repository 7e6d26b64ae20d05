"""Evidence: how one number of a certificate is combined over models and joined over batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

KEY = "evidence"
Reduce = Callable[[Sequence[Any]], Any]
"""From the values of several certificates to that of one."""


@dataclass(frozen=True)
class Evidence:
    """What becomes of one number of a certificate.

    Attributes:
        combine: from the values of several models to that of their mean.
        concat: from the values of several batches of queries to that of all of them.
        needs_solution: a number of a query that is NaN where its solve failed.
    """

    combine: Reduce
    concat: Reduce
    needs_solution: bool = False


def per_query(combine: Reduce, *, needs_solution: bool = False) -> Mapping[str, Evidence]:
    """Metadata of a field with one value a query: a tensor [q], or None if not measured."""
    return {KEY: Evidence(combine, concat_queries, needs_solution)}


def per_run(combine: Reduce, concat: Reduce | None = None) -> Mapping[str, Evidence]:
    """Metadata of a field with one value for all queries; equal in every batch if not told how."""
    return {KEY: Evidence(combine, concat or take_first)}


def list_evidence(certificate_type: type) -> dict[str, Evidence]:
    """The table: each field of a certificate, by name.

    Raises:
        TypeError: a field that does not say how it is combined.
    """
    missing = [item.name for item in fields(certificate_type) if KEY not in item.metadata]
    if missing:
        raise TypeError(
            f"{certificate_type.__name__}.{missing[0]}: expected field(metadata=per_query(...)) or "
            "per_run(...), got neither. Say how models are combined."
        )
    return {item.name: item.metadata[KEY] for item in fields(certificate_type)}


def take_max(values: Sequence[Any]) -> Any:
    """The largest; None if one is not known."""
    if any(value is None for value in values):
        return None
    return torch.stack(list(values)).amax(0) if isinstance(values[0], Tensor) else max(values)


def take_min(values: Sequence[Any]) -> Any:
    """The smallest; None if one is not known."""
    if any(value is None for value in values):
        return None
    return torch.stack(list(values)).amin(0) if isinstance(values[0], Tensor) else min(values)


def take_mean(values: Sequence[Tensor]) -> Tensor:
    """The mean."""
    return torch.stack(list(values)).mean(0)


def take_all(values: Sequence[Tensor]) -> Tensor:
    """Whether it holds for each."""
    return torch.stack(list(values)).all(0)


def take_sum(values: Sequence[int]) -> int:
    """The sum."""
    return sum(values)


def take_farthest(values: Sequence[Float[Tensor, " q"]]) -> Float[Tensor, " q"]:
    """Of each query the entry farthest from 0; NaN counts as 0 unless there is nothing else."""
    stacked = torch.stack(list(values))
    index = stacked.abs().nan_to_num(0.0).argmax(0, keepdim=True)
    return stacked.gather(0, index)[0]


def take_first(values: Sequence[Any]) -> Any:
    """The first, where all are equal."""
    return values[0]


def take_first_reason(values: Sequence[tuple[str | None, ...]]) -> tuple[str | None, ...]:
    """Of each query the first that is not None, if there is one."""
    return tuple(next(filter(None, reasons), None) for reasons in zip(*values, strict=True))


def take_none(values: Sequence[Any]) -> None:
    """Not known of the mean until it is measured on the mean itself."""
    return


def concat_queries(values: Sequence[Any]) -> Any:
    """One after another; None if not measured."""
    first = values[0]
    if first is None:
        return None
    return torch.cat(list(values)) if isinstance(first, Tensor) else sum(values, ())
