"""Gram matrices of small convolutional networks, with gradients as factors and formed ones."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.page import table
from fastif import CrossEntropy, Dual, GaussNewton, Gradients, ModuleObjective, TensorExamples
from fastif.gradients import tile_structure
from fastif.gradients.structured_tile import StructuredTile

FORMED, FACTORS = "formed gradients", "factors"
SOLVER = Dual(memory_mb=4000)


@contextmanager
def representation(name: str) -> Iterator[None]:
    """Use formed gradients, or factors where counts say so."""
    share = tile_structure.MIN_SHARE
    tile_structure.MIN_SHARE = 2.0 if name == FORMED else share
    try:
        yield
    finally:
        tile_structure.MIN_SHARE = share


def measure(work: Callable[[], object], rounds: int) -> float:
    """Return the least processor seconds of a call, after a first one."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


class Block(nn.Module):
    """Two convolutions with a skip connection, as in a ResNet of basic blocks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norms[0](self.first(inputs)))
        return torch.relu(self.norms[1](self.second(hidden)) + self.skip(inputs))


def make_classifier() -> nn.Module:
    """Return a classifier of 28 x 28 images: two convolutions, a pooling and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def make_strided() -> nn.Module:
    """Return a classifier of 28 x 28 images of four strided convolutions and a linear layer."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 4, 10))


def make_stage() -> nn.Module:
    """Return the last stage of a ResNet-18 and its head, for three classes."""
    blocks = Block(256, 512, 2), Block(512, 512, 1)
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = {
    "two convolutions and two linear layers": (make_classifier, (1, 28, 28), 64, 10),
    "four strided convolutions": (make_strided, (1, 28, 28), 64, 10),
    "last stage of a ResNet-18, images of 64 x 64": (make_stage, (256, 4, 4), 16, 3),
    "last stage of a ResNet-18, images of 96 x 96": (make_stage, (256, 6, 6), 16, 3),
    "last stage of a ResNet-18, images of 224 x 224": (make_stage, (256, 14, 14), 16, 3),
}
"""Constructor, shape of an input, rows and classes."""
NETWORK_BATCH_SIZE = 8


def measure_networks() -> dict:
    """Return the processor seconds of each Gram matrix either way, and the layers with factors."""
    return {name: _measure_network(*network) for name, network in NETWORKS.items()}


def _measure_network(
    make: Callable[[], nn.Module], shape: tuple[int, ...], rows: int, classes: int
) -> dict:
    torch.manual_seed(0)
    objective = ModuleObjective(make().eval(), CrossEntropy())
    labels = torch.arange(rows) % classes
    examples = TensorExamples(torch.rand(rows, *shape), labels).with_batch_size(NETWORK_BATCH_SIZE)
    operator = GaussNewton(objective, examples).with_damping(0.1)
    seconds = {}
    for name in (FACTORS, FORMED):
        with representation(name):
            seconds[name] = measure(lambda: SOLVER.factor(operator), 1)
    tile = Gradients(objective).compute_loss_tile(examples.take(torch.arange(2)))
    held = tile.layers.values() if isinstance(tile, StructuredTile) else ()
    weights = sum(layer.weight.stop - layer.weight.start for layer in held)
    return {
        "rows": rows,
        "columns": classes - 1,
        "parameters": objective.space.size,
        "share": weights / objective.space.size,
        **seconds,
    }


def build_table(networks: dict) -> str:
    """Return the table of networks."""
    rows = [
        [
            name,
            f"{own['parameters']:,}",
            f"{own['share']:.1%}",
            f"{own['rows']} x {own['columns']}",
            f"{own[FORMED]:.3g}",
            f"{own[FACTORS]:.3g}",
            f"{own[FORMED] / own[FACTORS]:.3g} x",
        ]
        for name, own in networks.items()
    ]
    heads = ["network", "parameters", "in factors", "factor rows", FORMED, FACTORS, "ratio"]
    return table(heads, rows)
