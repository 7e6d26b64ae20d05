"""Verification of a recorded step: its gradient against that of the mean loss of its rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fastif.data.examples import FORWARD_BATCH_SIZE
from fastif.errors import InputError
from fastif.losses import Loss
from fastif.models.classifier_head import extract_logits
from fastif.unrolled.row_digests import TARGETS, digest_rows

GRADIENT_TOLERANCE = 1e-4
"""Accepted distance of the two gradients, relative to their norm; rounding is below 1e-5."""


class LoaderRows:
    """Training rows of a data loader, collated by position as the loader does.

    Args:
        loader: Data loader of the training.
        device: Device of the batches.
    """

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.dataset, self.device = loader.dataset, device
        self.collate: Callable[[list[Any]], Any] = loader.collate_fn or (lambda rows: rows)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def take(self, ids: Sequence[int]) -> dict[str, Tensor]:
        """Return rows as one batch.

        Raises:
            InputError: The batch has no entry "labels".
        """
        batch = self.collate([self.dataset[i] for i in ids])
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        if TARGETS not in tensors:
            raise InputError(
                "RecordTraining: training data",
                'the targets under "labels"',
                ", ".join(sorted(tensors)) or "no tensors",
                "Name the column of the targets label or labels.",
            )
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def compute_digests(self) -> UInt8[Tensor, "n 16"]:
        """Return the digest of each row, see `digest_rows`."""
        chunks = torch.arange(len(self)).split(FORWARD_BATCH_SIZE)
        return torch.cat([digest_rows(self.take(ids.tolist())) for ids in chunks])


def measure_gradient_distance(
    model: nn.Module,
    loss: Loss,
    params: Mapping[str, Tensor],
    batches: Sequence[Mapping[str, Tensor]],
    max_grad_norm: float | None,
) -> float:
    """Measure how far the gradients of a step are from those of the mean loss over its rows.

    The gradients in `params` are those of the step, after clipping; they stay as they are, and so
    does torch's random state.

    Args:
        model: Model, in the mode of the training.
        loss: Loss of the training.
        params: Trained parameters by name.
        batches: Batches of rows that the step accumulated.
        max_grad_norm: Largest norm of the gradient; None for no clipping.

    Returns:
        Norm of the difference relative to the norm of the step's gradient; 0 if that is 0.
    """
    trained = [tensor.grad for tensor in params.values()]
    count = sum(len(batch[TARGETS]) for batch in batches)
    devices = [tensor.device for tensor in list(params.values())[:1] if tensor.is_cuda]
    try:
        for tensor in params.values():
            tensor.grad = None
        with torch.random.fork_rng(devices), torch.enable_grad():
            for batch in batches:
                inputs = {name: tensor for name, tensor in batch.items() if name != TARGETS}
                targets = batch[TARGETS]
                outputs = extract_logits(model(**inputs), len(targets), "model")
                (loss(outputs, targets).sum() / count).backward()
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(params.values()), max_grad_norm)
        pairs = zip(trained, [tensor.grad for tensor in params.values()], strict=True)
        return _measure_distance(pairs)
    finally:
        for tensor, gradient in zip(params.values(), trained, strict=True):
            tensor.grad = gradient


def _measure_distance(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> float:
    """Return ‖a - b‖ / ‖a‖ over pairs of tensors, of which None counts as zero."""
    difference = norm = 0.0
    for first, second in pairs:
        size = 0.0 if first is None else float(first.double().square().sum())
        norm += size
        if first is None or second is None:
            difference += size if second is None else float(second.double().square().sum())
        else:
            difference += float((first - second).double().square().sum())
    return (difference / norm) ** 0.5 if norm else float(difference > 0)


def select_new_sizes(batches: Sequence[Int[Tensor, " b"]], verified: set[tuple[int, ...]]) -> bool:
    """Whether a step accumulates batches of sizes that no verified step had; they are added."""
    sizes = tuple(len(ids) for ids in batches)
    is_new = sizes not in verified
    verified.add(sizes)
    return is_new
