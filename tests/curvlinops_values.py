"""Products of another library's matrices, for test_ekfac.py, and the script that took them.

curvlinops 3.0.1 (Dangel et al., 2025) needs torchvision, whose wheels do not load next to a CPU
build of torch and then break transformers. So it is no dependency of the tests: its values for
small models are kept in a file next to this one. To recompute them, in a fresh environment:

    pip install torch curvlinops-for-pytorch && python tests/curvlinops_values.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FILE = Path(__file__).with_suffix(".safetensors")
EXAMPLES, ROWS = 7, 3


class Mean(nn.Module):
    """Over positions."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(1)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def without_bias() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False))


def positions() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Mean(), nn.Linear(4, 3))


@dataclass(frozen=True)
class Peer:
    """A small model, which of its parameters, and its loss."""

    build: Callable[[], nn.Module]
    names: tuple[str, ...]
    loss: str

    @property
    def key(self) -> str:
        return f"{self.build.__name__}/{'+'.join(self.names)}/{self.loss}"


ALL = ("0.weight", "0.bias", "2.weight", "2.bias")
PEERS = [
    Peer(build, names, loss)
    for loss in ("cross-entropy", "squared")
    for build, names in (
        (plain, ALL),
        (plain, ("0.weight", "2.weight")),
        (plain, ("0.bias", "2.bias")),
        (plain, ("0.weight", "2.bias")),
        (without_bias, ("0.weight", "2.weight")),
        (positions, ("0.weight", "0.bias", "3.weight", "3.bias")),
    )
]


def load_peer(peer: Peer, file: Path = FILE) -> tuple[nn.Module, Tensor, Tensor, dict[str, Tensor]]:
    """The model, its inputs and targets, and "rows", "ggn", "kfac", "ekfac": products with rows."""
    stored = load_file(file)
    tensors = {
        name.removeprefix(f"{peer.key}:"): tensor
        for name, tensor in stored.items()
        if name.startswith(f"{peer.key}:")
    }
    module = peer.build().double()
    weights = {name: tensors.pop(f"weights.{name}") for name in module.state_dict()}
    module.load_state_dict(weights)
    return module, tensors.pop("inputs"), tensors.pop("targets"), tensors


def compute_peer(peer: Peer, seed: int) -> dict[str, Tensor]:
    """The same, drawn afresh and multiplied by curvlinops."""
    from curvlinops import EKFACLinearOperator, GGNLinearOperator, KFACLinearOperator

    torch.manual_seed(seed)
    module = peer.build().double()
    shape = (EXAMPLES, 5, 3) if peer.build is positions else (EXAMPLES, 3)
    inputs = torch.randn(*shape, dtype=torch.float64)
    if peer.loss == "squared":
        targets, loss = torch.randn(EXAMPLES, 3, dtype=torch.float64), nn.MSELoss()
    else:
        targets, loss = torch.randint(3, (EXAMPLES,)), nn.CrossEntropyLoss()
    params = [dict(module.named_parameters())[name] for name in peer.names]
    rows = torch.randn(ROWS, sum(tensor.numel() for tensor in params), dtype=torch.float64)
    given = (module, loss, params, [(inputs, targets)])
    exact = {"fisher_type": "type-2", "separate_weight_and_bias": False}
    operators = {
        "ggn": GGNLinearOperator(*given),
        "kfac": KFACLinearOperator(*given, **exact),
        "ekfac": EKFACLinearOperator(*given, **exact),
    }
    return {
        **{f"weights.{name}": tensor for name, tensor in module.state_dict().items()},
        "inputs": inputs,
        "targets": targets,
        "rows": rows,
        **{name: (operator @ rows.T).T.contiguous() for name, operator in operators.items()},
    }


if __name__ == "__main__":
    tensors = {
        f"{peer.key}:{name}": tensor.detach().clone()
        for seed, peer in enumerate(PEERS)
        for name, tensor in compute_peer(peer, seed).items()
    }
    save_file(tensors, FILE)
