"""dattri: conjugate gradients, Arnoldi, LiSSA, DataInf, EK-FAC, TRAK, TracIn and gradient cosine.

Its influence attributors solve each query again for each batch of training rows. Here their public
steps are called so that each query is solved once. The scores are equal.
"""

import torch
import torch.nn.functional as F
from dattri.algorithm.base import BaseInnerProductAttributor
from dattri.algorithm.influence_function import (
    IFAttributorArnoldi,
    IFAttributorCG,
    IFAttributorDataInf,
    IFAttributorEKFAC,
    IFAttributorLiSSA,
)
from dattri.algorithm.tracin import TracInAttributor
from dattri.algorithm.trak import TRAKAttributor
from dattri.task import AttributionTask
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader

from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import loader, query_loader, some_rows, train_loader

QUERIES, ROWS = 50, 250
"""Queries of a solve, and rows of a batch; scores do not depend on them."""
HELD = 2**24
"""Numbers of gradients of a batch: its backward pass slows down beyond the cache."""


def cg(plain: Plain, seed: int, rows: int, damping: float, steps: int) -> Float[Tensor, "q n"]:
    """Return scores by conjugate gradients on the Hessian of `rows` training rows."""
    attributor = IFAttributorCG(_task(plain), max_iter=steps, regularization=damping)
    attributor.cache(_one_batch(some_rows(plain, rows, seed)))
    return _scores(attributor, plain)


def arnoldi(
    plain: Plain, seed: int, rows: int, krylov: int, damping: float
) -> Float[Tensor, "q n"]:
    """Return scores by the eigenvalues of `krylov` Arnoldi steps on the Hessian of `rows` rows."""
    attributor = IFAttributorArnoldi(
        _task(plain), proj_dim=krylov, max_iter=krylov, regularization=damping, seed=seed
    )
    batch = next(iter(_one_batch(some_rows(plain, rows, seed))))
    attributor.cache([list(batch)])  # it assigns to the batch, which must not be a tuple
    return _scores(attributor, plain)


def lissa(plain: Plain, seed: int, depth: int, batch: int, scale: float) -> Float[Tensor, "q n"]:
    """Return scores by LiSSA over all training rows."""
    torch.manual_seed(seed)
    attributor = IFAttributorLiSSA(
        _task(plain), batch_size=batch, recursion_depth=depth, scaling=scale
    )
    attributor.cache(_one_batch(plain))
    return _scores(attributor, plain)


def datainf(plain: Plain, seed: int, rows: int, damping: float) -> Float[Tensor, "q n"]:
    """Return scores by DataInf with the gradients of `rows` training rows."""
    attributor = IFAttributorDataInf(_task(plain), regularization=damping)
    attributor.cache(train_loader(some_rows(plain, rows, seed), _size(plain)))
    return _scores(attributor, plain, queries=5)  # it holds queries x queries x p


def ekfac(plain: Plain, seed: int, damping: float) -> Float[Tensor, "q n"]:
    """Return scores by EK-FAC of the empirical Fisher; a mean loss would scale by 1 / batch²."""
    torch.manual_seed(seed)
    attributor = IFAttributorEKFAC(_task(plain, reduction="sum"), damping=damping)
    attributor.cache(train_loader(plain, ROWS))
    return _scores(attributor, plain)


def trak(plain: Plain, seed: int, width: int) -> Float[Tensor, "q n"]:
    """Return scores by TRAK with one model and `width` random projections."""

    def margin(params: dict[str, Tensor], row: tuple[Tensor, ...]) -> Tensor:
        logits, label = _logits(plain, params, row)
        others = torch.arange(logits.shape[1]) != label[:, None]
        rest = logits.masked_fill(~others, -torch.inf).logsumexp(1)
        return (logits.masked_fill(others, 0).sum(1) - rest).squeeze()

    def probability(params: dict[str, Tensor], row: tuple[Tensor, ...]) -> Tensor:
        logits, label = _logits(plain, params, row)
        return torch.exp(-F.cross_entropy(logits, label))

    task = AttributionTask(margin, plain.model, plain.model.state_dict())
    projection = {"proj_dim": width, "proj_seed": seed, "device": "cpu", "proj_type": "normal"}
    attributor = TRAKAttributor(task, probability, projector_kwargs=projection)
    with torch.no_grad():  # each batch samples the whole projection again: few large batches
        attributor.cache(train_loader(plain, 2 * ROWS))
        return attributor.attribute(query_loader(plain, 2 * ROWS)).T


def tracin(plain: Plain, seed: int, normalized: bool) -> Float[Tensor, "q n"]:
    """Return scores by TracIn with the final weights (gradient products), or gradient cosines."""

    def loss(params: dict[str, Tensor], row: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(*_logits(plain, params, row))

    attributor = TracInAttributor(
        AttributionTask(loss, plain.model, plain.model.state_dict()),
        torch.ones(1),
        normalized,
        projector_kwargs={"proj_type": "identity"},  # by default it projects to 512 numbers
    )
    with torch.no_grad():
        return attributor.attribute(train_loader(plain, ROWS), query_loader(plain, ROWS)).T


def _logits(
    plain: Plain, params: dict[str, Tensor], row: tuple[Tensor, ...]
) -> tuple[Float[Tensor, "1 c"], Tensor]:
    """Return logits and label of one row, with the batch axis added."""
    *inputs, label = (tensor[None] for tensor in row)
    return functional_call(plain.model, params, tuple(inputs)), label


def _task(plain: Plain, reduction: str = "mean") -> AttributionTask:
    def loss(params: dict[str, Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        *inputs, labels = batch
        logits = functional_call(plain.model, params, tuple(inputs))
        return F.cross_entropy(
            logits, labels.long(), reduction=reduction
        )  # LiSSA converts to float

    return AttributionTask(loss, plain.model, plain.model.state_dict())


def _one_batch(plain: Plain) -> DataLoader:
    """Return a loader of one batch: dattri adds up the inverses of all batches."""
    return train_loader(plain, len(plain.train_labels))


@torch.no_grad()
def _scores(
    attributor: BaseInnerProductAttributor, plain: Plain, queries: int = QUERIES
) -> Float[Tensor, "q n"]:
    """Solve each query once, and return its products with all training gradients."""
    query_ihvps = []
    for batch in loader(plain.query_inputs, plain.query_labels, queries):
        gradients = attributor.generate_test_rep(0, _apart(batch))
        query_ihvps.append(attributor.transform_test_rep(0, gradients))
    rows = torch.cat(query_ihvps)
    columns = []
    for batch in train_loader(plain, _size(plain)):
        gradients = attributor.generate_train_rep(0, _apart(batch))
        columns.append(rows @ attributor.transform_train_rep(0, gradients).T)
    return torch.cat(columns, 1)


def _size(plain: Plain) -> int:
    return max(1, HELD // sum(p.numel() for p in plain.model.parameters() if p.requires_grad))


def _apart(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return each example as a batch of one along the second axis, as its gradients need."""
    return tuple(tensor[None] for tensor in batch)
