"""pyDVL: Nyström sketch, EK-FAC and conjugate gradients."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydvl.influence.base_influence_function_model import InfluenceFunctionModel
from pydvl.influence.torch import CgInfluence, EkfacInfluence, NystroemSketchInfluence
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import crop, has_mask, some_rows

ROWS, SEQUENCES = 100, 8
"""Batch size. Batches have equal weights in its curvature, so the last should not be shorter; a
sketch holds the activations of rank x rows in memory."""


class OneInput(nn.Module):
    """Model of one tensor, as pyDVL needs: the mask is a further column of the hidden states."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, packed: Float[Tensor, "b t d"]) -> Float[Tensor, "b c"]:
        return self.model(packed[..., :-1], packed[..., -1])


def nystroem(
    plain: Plain, seed: int, rows: int | None, rank: int, damping: float
) -> Float[Tensor, "q n"]:
    """Return scores by a Nyström sketch of the Hessian of `rows` training rows."""
    torch.manual_seed(seed)
    model = NystroemSketchInfluence(
        _model(plain), F.cross_entropy, regularization=damping, rank=rank
    )
    return _scores(model.fit(_train(some_rows(plain, rows, seed))), plain)


def cg(plain: Plain, seed: int, rows: int, damping: float, steps: int) -> Float[Tensor, "q n"]:
    """Return scores by conjugate gradients on the Hessian of `rows` training rows."""
    model = CgInfluence(
        _model(plain),
        F.cross_entropy,
        regularization=damping,
        maxiter=steps,
        warn_on_max_iteration=False,
    )
    return _scores(model.fit(_train(some_rows(plain, rows, seed))), plain)


def ekfac(plain: Plain, seed: int, damping: float) -> Float[Tensor, "q n"]:
    """Return scores by EK-FAC with refitted eigenvalues."""
    model = EkfacInfluence(_model(plain), update_diagonal=True, hessian_regularization=damping)
    return _scores(model.fit(_train(plain)), plain)


def _model(plain: Plain) -> nn.Module:
    model = copy.deepcopy(plain.model)
    return OneInput(model).eval() if has_mask(plain.train_inputs) else model


def _packed(rows: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Return a batch of one tensor and labels; the mask is a further column."""
    *inputs, labels = crop(rows)
    if not has_mask(inputs):
        return inputs[0], labels
    hidden, mask = inputs
    return torch.cat([hidden, mask[..., None].to(hidden.dtype)], -1), labels


def _loader(inputs: tuple[Tensor, ...], labels: Tensor) -> DataLoader:
    size = SEQUENCES if has_mask(inputs) else ROWS
    rows = TensorDataset(*inputs, labels)
    return DataLoader(rows, batch_size=min(size, len(labels)), collate_fn=_packed)


def _train(plain: Plain) -> DataLoader:
    return _loader(plain.train_inputs, plain.train_labels)


def _scores(model: InfluenceFunctionModel, plain: Plain) -> Float[Tensor, "q n"]:
    """Solve each query once, and return its products with the training gradients by batch."""
    queries = _loader(plain.query_inputs, plain.query_labels)
    factors = torch.cat([model.influence_factors(x, y) for x, y in queries])
    columns = [model.influences_from_factors(factors, x, y) for x, y in _train(plain)]
    return torch.cat(columns, 1).detach()
