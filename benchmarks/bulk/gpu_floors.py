"""Lower bounds of a sweep over the training rows, by arithmetic and by memory traffic."""

import time
from dataclasses import dataclass

import torch

from benchmarks.bulk.gpu_counts import ATTRIBUTED
from benchmarks.bulk.gpu_workload import Work
from fastif.solvers.product_precision import LOW, use_precision

NOMINAL = {
    "H200": (989e12, 494e12, 4.8e12, "nominal", 67e12),
    "H100": (989e12, 494e12, 3.35e12, "nominal", 67e12),
}
"""Nominal dense peaks (SXM): operations a second in bfloat16 and in TF32, bytes a second, their
source, and operations a second in single precision."""

HALF, SINGLE = 2, 4


@dataclass(frozen=True)
class Peaks:
    """Peak rates of a device.

    Attributes:
        half: Operations a second of matrix products in bfloat16.
        single: Operations a second of matrix products in single precision, or in TF32.
        bytes: Bytes read or written a second.
        source: "nominal", or "measured" on a device that is not listed.
        exact: Operations a second in single precision without TF32.
    """

    half: float
    single: float
    bytes: float
    source: str
    exact: float

    @classmethod
    def of(cls, device: torch.device) -> "Peaks":
        """Return the nominal peaks, or those measured by a large product and a large copy."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        for known, numbers in NOMINAL.items():
            if known in name:
                return cls(*numbers)
        side = 8192 if device.type == "cuda" else 512
        half, exact = (_product(side, kind, device) for kind in (torch.bfloat16, torch.float32))
        with use_precision(device, LOW[device.type]):
            single = _product(side, torch.float32, device)
        return cls(half, single, _copy(side * side, device), "measured", exact)


@dataclass(frozen=True)
class Floor:
    """Lower bounds of a sweep in seconds.

    Attributes:
        arithmetic: Bound by the number of operations.
        bytes: Bound by the bytes to be read and written.
    """

    arithmetic: float
    bytes: float


def scan_floor(work: Work, peaks: Peaks) -> Floor:
    """Return the lower bounds of a full scan.

    Arithmetic: the passes through the model, and 2 n q p for the products. Bytes: n p numbers of
    gradients are written once and read once, and all of s_test, q p numbers, is read once a tile.
    """
    n, q, p = len(work.train), len(work.queries), work.objective.space.size
    tiles = -(-n // work.scale.tile)
    arithmetic = passes(work) / peaks.single + 2 * n * q * p / peaks.half
    return Floor(arithmetic, HALF * (2 * n * p + tiles * q * p) / peaks.bytes)


def sketch_floor(work: Work, peaks: Peaks, dimensions: int) -> Floor:
    """Return the lower bounds of sketching all rows, without projection and count sketch.

    Arithmetic: the passes through the model, without whole gradients, and the product with the
    basis. Bytes: the weights once a batch, and the count sketches written and read once.
    """
    scale, n = work.scale, len(work.train)
    weights = sum(tensor.numel() for tensor in work.objective.full_model.parameters())
    arithmetic = passes(work, gradients=False) + 2 * n * scale.width * dimensions
    moved = SINGLE * (weights * -(-n // scale.tile) + 2 * n * scale.width)
    return Floor(arithmetic / peaks.single, moved / peaks.bytes)


def passes(work: Work, gradients: bool = True) -> float:
    """Return the operations of a forward pass and of the backward pass of attributed layers.

    A token costs 2 operations for each weight of a layer going forward, as many going back, and as
    many for the gradient; attention over T tokens adds 4 T d a token, twice that going back. The
    padding of batches is not counted, nor embeddings, norms and activations.
    """
    config, lengths = work.objective.full_model.config, work.train.lengths.double()
    d, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    weights = 2 * (4 * d * d + 2 * d * inner) * float(lengths.sum())
    attention = 4 * d * float(lengths.square().sum())
    forward = layers * (weights + attention)
    back = ATTRIBUTED * (weights + 2 * attention)
    return forward + back + (ATTRIBUTED * weights if gradients else 0.0)


def _product(side: int, kind: torch.dtype, device: torch.device) -> float:
    left = torch.ones(side, side, dtype=kind, device=device)
    return 2 * side**3 / _best(lambda: left @ left, device)


def _copy(count: int, device: torch.device) -> float:
    source = torch.ones(count, device=device)
    target = torch.empty_like(source)
    return 2 * SINGLE * count / _best(lambda: target.copy_(source), device)


def _best(work, device: torch.device, rounds: int = 5) -> float:
    """Return the minimum seconds of some rounds."""
    seconds = []
    for _ in range(rounds):
        settle(device)
        start = time.perf_counter()
        work()
        settle(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def settle(device: torch.device) -> None:
    """Wait until the device has finished all submitted work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
