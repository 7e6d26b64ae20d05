"""Focal, Huber, ordinal and weighted losses with outputs and targets."""

import math

import torch
from torch import Tensor
from torch.func import hessian

from fastif import BinaryCrossEntropy, CrossEntropy, SquaredError
from fastif.losses import (
    BinaryFocalLoss,
    FocalLoss,
    Huber,
    Loss,
    OrdinalCrossEntropy,
    SampleWeighted,
    weight_targets,
)

ROWS = 6
NAN = math.nan


def make_outputs(count: int, scale: float = 1.5) -> Tensor:
    """Random outputs in double precision."""
    generator = torch.Generator().manual_seed(count)
    return scale * torch.randn(ROWS, count, generator=generator, dtype=torch.float64)


def make_falling_outputs(count: int) -> Tensor:
    """Outputs in descending order, two of them almost equal."""
    outputs = make_outputs(count).sort(1, descending=True).values
    outputs[0, 1] = outputs[0, 0] - 1e-3
    return outputs


def make_classes(count: int) -> Tensor:
    """Class numbers in turn."""
    return torch.arange(ROWS) % count


def make_bits(count: int) -> Tensor:
    """Random labels of 0 or 1."""
    return (make_outputs(count).flip(0) > 0).long()


def make_bits_with_missing(count: int) -> Tensor:
    """Labels with one missing in a row, and a row without any."""
    targets = make_bits(count).double()
    targets[1, 0], targets[3] = NAN, NAN
    return targets


WEIGHTS = torch.tensor([0.5, 0.0, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64)

# name: loss, outputs, targets
CONVEX: dict[str, tuple[Loss, Tensor, Tensor]] = {
    **{
        f"huber-{d}": (Huber(d), make_outputs(1), make_outputs(1).flip(0)[:, 0])
        for d in (0.3, 1.0, 5.0)
    },
    "huber-mean": (Huber(0.7, "mean"), make_outputs(3), make_outputs(3).flip(0)),
    "squared-mean": (SquaredError("mean"), make_outputs(3), make_outputs(3).flip(0)),
    "binary-mean": (BinaryCrossEntropy((0.2, 3.0, 1.0), "mean"), make_outputs(3), make_bits(3)),
    "binary-missing": (
        BinaryCrossEntropy((0.2, 3.0), skip_missing=True),
        make_outputs(2),
        make_bits_with_missing(2),
    ),
    "binary-missing-mean": (
        BinaryCrossEntropy(None, "mean", True),
        make_outputs(2),
        make_bits_with_missing(2),
    ),
    **{
        f"{kind}-{c}": (OrdinalCrossEntropy(kind, c), make_falling_outputs(c - 1), make_classes(c))
        for kind in ("coral", "corn", "cumulative")
        for c in (3, 5)
    },
    "coral-two": (OrdinalCrossEntropy(), make_outputs(1), make_classes(2)),
    "cumulative-two": (OrdinalCrossEntropy("cumulative"), make_outputs(1), make_classes(2)),
    "focal-easy": (FocalLoss(2.0), make_outputs(3, 0.5), make_classes(3)),
    "weighted-classes": (
        SampleWeighted(CrossEntropy(0.1)),
        make_outputs(3),
        weight_targets(make_classes(3), WEIGHTS),
    ),
    "weighted-soft": (
        SampleWeighted(CrossEntropy()),
        make_outputs(3),
        weight_targets(make_outputs(3).softmax(1), WEIGHTS),
    ),
    "weighted-bits": (
        SampleWeighted(BinaryCrossEntropy(skip_missing=True)),
        make_outputs(2),
        weight_targets(make_bits_with_missing(2), WEIGHTS),
    ),
    "weighted-number": (
        SampleWeighted(Huber(0.5)),
        make_outputs(1),
        weight_targets(make_outputs(1).flip(0)[:, 0], WEIGHTS),
    ),
    "weighted-order": (
        SampleWeighted(OrdinalCrossEntropy("cumulative")),
        make_falling_outputs(3),
        weight_targets(make_classes(4), WEIGHTS),
    ),
}
FOCAL: dict[str, tuple[Loss, Tensor, Tensor]] = {
    **{
        f"focal-{c}-{gamma}": (FocalLoss(gamma), make_outputs(c, 3.0), make_classes(c))
        for c in (2, 3, 6)
        for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)
    },
    "focal-weighted": (FocalLoss(2.0, (0.5, 0.0, 3.0)), make_outputs(3, 3.0), make_classes(3)),
    **{
        f"binary-focal-{gamma}": (
            BinaryFocalLoss(gamma, 0.25, "mean"),
            make_outputs(3, 3.0),
            make_bits(3),
        )
        for gamma in (0.0, 0.5, 2.0)
    },
    "binary-focal-one": (BinaryFocalLoss(), make_outputs(1, 3.0), make_bits(1)[:, 0]),
}
ALL = CONVEX | FOCAL


def compute_hessians(loss: Loss, outputs: Tensor, targets: Tensor) -> list[Tensor]:
    """Dense Hessians in the outputs by automatic differentiation."""
    return [
        hessian(lambda z, t=target: loss(z[None], t[None])[0])(row)
        for row, target in zip(outputs, targets, strict=True)
    ]
