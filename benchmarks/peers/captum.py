"""captum: TracInCP with the final weights, TracInCPFast on the last layer, and Arnoldi."""

from captum.influence import TracInCP, TracInCPFast
from captum.influence._core.arnoldi_influence_function import (  # it has no public name
    ArnoldiInfluenceFunction,
)
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import last_linear, query_loader, some_rows, train_loader

ROWS = 100
"""Batch size."""
FEW = 4
"""Batch size where it runs a backward pass of the whole batch for each row."""
_WEIGHTS = "those of the model"


def tracin_fast(plain: Plain, seed: int) -> Float[Tensor, "q n"]:
    """Return gradient products over the last linear layer."""
    tracer = TracInCPFast(
        plain.model,
        last_linear(plain.model),
        train_loader(plain, ROWS),
        [_WEIGHTS],
        _loaded,
        nn.CrossEntropyLoss(reduction="sum"),
    )
    # unlike its other classes, this one takes no loader of queries
    return tracer.influence((*plain.query_inputs, plain.query_labels)).detach()


def tracin(plain: Plain, seed: int) -> Float[Tensor, "q n"]:
    """Return gradient products over all attributed parameters."""
    by_batch = _only_linear(plain.model)
    size = ROWS if by_batch else FEW
    tracer = TracInCP(
        plain.model,
        train_loader(plain, size),
        [_WEIGHTS],
        _loaded,
        layers=_find_attributed_layers(plain.model),
        loss_fn=_loss(by_batch),
        sample_wise_grads_per_batch=by_batch,
    )
    return tracer.influence(query_loader(plain, size)).detach()


def arnoldi(
    plain: Plain, seed: int, rows: int | None, krylov: int, rank: int, damping: float
) -> Float[Tensor, "q n"]:
    """Return scores by the inverse Hessian of `rows` rows on its `rank` largest eigenvalues."""
    by_batch = _only_linear(plain.model)
    size = ROWS if by_batch else FEW
    influence_function = ArnoldiInfluenceFunction(
        plain.model,
        train_loader(plain, size),
        _WEIGHTS,
        _loaded,
        layers=_find_attributed_layers(plain.model),
        loss_fn=_loss(by_batch),
        hessian_dataset=train_loader(some_rows(plain, rows, seed), 2 * ROWS),
        sample_wise_grads_per_batch=by_batch,
        projection_dim=rank,
        seed=seed,
        arnoldi_dim=krylov,
        hessian_reg=damping,
    )
    return influence_function.influence(query_loader(plain, size)).detach()


def _loaded(model: nn.Module, checkpoint: str) -> float:
    """Return the learning rate of a checkpoint; the model already has its weights."""
    return 1.0


def _loss(by_batch: bool) -> nn.CrossEntropyLoss:
    """Return the loss: a sum where captum batches gradients, otherwise one loss a row."""
    return nn.CrossEntropyLoss(reduction="sum" if by_batch else "none")


def _find_attributed_layers(model: nn.Module) -> list[str]:
    """Return the layers with attributed parameters; by default captum includes frozen ones."""
    return [
        name
        for name, layer in model.named_modules()
        if any(p.requires_grad for p in layer.parameters(recurse=False))
    ]


def _only_linear(model: nn.Module) -> bool:
    """Return whether captum can batch gradients; it does not support LayerNorm."""
    owners = [layer for layer in model.modules() if list(layer.parameters(recurse=False))]
    return all(isinstance(layer, nn.Linear) for layer in owners)
