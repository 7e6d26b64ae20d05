"""Checks of targets against the domain of their loss, before any computation."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.losses.measure import Measure

MAX_LISTED_ROWS = 3


def find_targets(examples: Examples) -> Tensor | None:
    """Return all targets of the examples, in order; None if only batches hold them."""
    own = getattr(examples, "labels", None)
    if isinstance(own, Tensor):
        return own
    inner = getattr(examples, "examples", None)
    if not isinstance(inner, Examples):
        return None
    targets, ids = find_targets(inner), getattr(examples, "ids", None)
    return (
        targets
        if targets is None or not isinstance(ids, Tensor)
        else targets[ids.to(targets.device)]
    )


def check_class_numbers(targets: Shaped[Tensor, "n *t"], where: str) -> None:
    """Refuse targets that are not class numbers, for what counts or compares classes.

    Args:
        targets: Targets of all examples.
        where: Name of what needs classes, for the message.

    Raises:
        InputError: Targets are no whole numbers of 0 or more, one for each example.
    """
    whole = not targets.is_floating_point() and targets.dtype != torch.bool and targets.dim() == 1
    if whole and not bool((targets < 0).any()):
        return
    kind = f"{targets.dtype} of shape {list(targets.shape)}"
    raise InputError(
        where,
        "class numbers as targets, one whole number of 0 or more for each example",
        "a negative number" if whole else kind,
        "Leave this out for several labels, numbers, probabilities or weights as targets.",
    )


def check_targets(
    measure: Measure, targets: Shaped[Tensor, "n *t"], outputs: int, where: str
) -> None:
    """Refuse targets outside the domain of the loss.

    Args:
        measure: Loss, or measure of a query.
        targets: Targets of all examples.
        outputs: Number of model outputs for each example.
        where: Name of the examples in the message.

    Raises:
        InputError: Targets are invalid; the message lists the first rows.
    """
    invalid = measure.find_invalid_targets(targets, outputs)
    if invalid is None:
        return
    expected, rows = invalid
    places = rows.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, places[:MAX_LISTED_ROWS]))
    more = f" and {len(places) - MAX_LISTED_ROWS} more" if len(places) > MAX_LISTED_ROWS else ""
    target = targets[places[0]]
    value = target.item() if target.numel() == 1 else target.flatten()[:MAX_LISTED_ROWS].tolist()
    raise InputError(
        where,
        f"targets of {type(measure).__name__}: {expected}",
        f"{value} in row {places[0]}" + (f" (rows {shown}{more})" if len(places) > 1 else ""),
        "Correct these labels, or remove the rows; rows to ignore must not be in the set.",
    )
