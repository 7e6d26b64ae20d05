"""Evidence: rules that combine the numbers of certificates over models and over batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

KEY = "evidence"
Reduce = Callable[[Sequence[Any]], Any]
"""Function that reduces the values of several certificates to one value."""


@dataclass(frozen=True)
class Evidence:
    """Rules for one number of a certificate.

    Attributes:
        combine: Reduction of the values of several models to the value of their mean.
        concat: Reduction of the values of batches of queries to the value of all queries.
        needs_solution: Whether the number is NaN for a query with a failed solve.
    """

    combine: Reduce
    concat: Reduce
    needs_solution: bool = False


def per_query(combine: Reduce, *, needs_solution: bool = False) -> Mapping[str, Evidence]:
    """Metadata of a field with one value for each query: a tensor [q], or None if not measured."""
    return {KEY: Evidence(combine, concat_queries, needs_solution)}


def per_run(combine: Reduce, concat: Reduce | None = None) -> Mapping[str, Evidence]:
    """Metadata of a field with one value for all queries; the first batch's value by default."""
    return {KEY: Evidence(combine, concat or take_first)}


def list_evidence(certificate_type: type) -> dict[str, Evidence]:
    """Rules of the fields of a certificate, by field name.

    Raises:
        TypeError: A field has no rule.
    """
    missing = [item.name for item in fields(certificate_type) if KEY not in item.metadata]
    if missing:
        raise TypeError(
            f"{certificate_type.__name__}.{missing[0]}: expected field(metadata=per_query(...)) or "
            "per_run(...), got neither. Add the rule that combines models."
        )
    return {item.name: item.metadata[KEY] for item in fields(certificate_type)}


def take_max(values: Sequence[Any]) -> Any:
    """Largest value; None if a value is unknown."""
    if any(value is None for value in values):
        return None
    return torch.stack(list(values)).amax(0) if isinstance(values[0], Tensor) else max(values)


def take_min(values: Sequence[Any]) -> Any:
    """Smallest value; None if a value is unknown."""
    if any(value is None for value in values):
        return None
    return torch.stack(list(values)).amin(0) if isinstance(values[0], Tensor) else min(values)


def take_mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of the values."""
    return torch.stack(list(values)).mean(0)


def take_all(values: Sequence[Tensor]) -> Tensor:
    """Logical AND of the values."""
    return torch.stack(list(values)).all(0)


def take_sum(values: Sequence[int]) -> int:
    """Sum of the values."""
    return sum(values)


def take_farthest(values: Sequence[Float[Tensor, " q"]]) -> Float[Tensor, " q"]:
    """Entry farthest from 0 for each query; NaN only where all entries are NaN."""
    stacked = torch.stack(list(values))
    index = stacked.abs().nan_to_num(0.0).argmax(0, keepdim=True)
    return stacked.gather(0, index)[0]


def take_first(values: Sequence[Any]) -> Any:
    """First value, where all are equal."""
    return values[0]


def take_first_reason(values: Sequence[tuple[str | None, ...]]) -> tuple[str | None, ...]:
    """First reason that is not None for each query, or None."""
    return tuple(next(filter(None, reasons), None) for reasons in zip(*values, strict=True))


def take_none(values: Sequence[Any]) -> None:
    """Return None: the number is measured on the mean itself."""
    return


def concat_queries(values: Sequence[Any]) -> Any:
    """Concatenate the values of batches of queries; None if not measured."""
    first = values[0]
    if first is None:
        return None
    return torch.cat(list(values)) if isinstance(first, Tensor) else sum(values, ())
