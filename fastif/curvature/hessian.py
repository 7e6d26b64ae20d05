"""The Hessian of the training loss, by double backward."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastif.curvature.operator import LinearOperator
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Batch, all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.models.batch_invariance import spot_check_batch
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import is_out_of_memory


@dataclass(frozen=True, eq=False)
class Hessian(LinearOperator):
    """H = 1/m Σ_i ∇² L_i, as in the FastIF paper; not positive definite for a network.

    A product differentiates the gradient once more (Pearlmutter, 1994). The q vectors share one
    forward and one backward pass a batch. Fused attention kernels have no double backward: torch's
    are replaced by the plain one here, others are refused.

    Args:
        objective: the trained model.
        examples: the training set, whose `batch_size` is that of one backward pass.
        ids: the m examples the mean is taken over; all by default.

    Raises:
        InputError: model or examples are refused by a trial on a few rows; on use, an operation of
            the model cannot be differentiated twice.
    """

    objective: Objective
    examples: ExamplesLike
    ids: Ids | None = None

    def __post_init__(self) -> None:
        try_table(self.objective, self.examples, "training set")
        if self.ids is not None:
            object.__setattr__(self, "ids", as_ids(self.ids, len(self.examples)))

    @property
    def size(self) -> int:
        return self.objective.space.size

    @property
    def ridge(self) -> float:
        return self.objective.penalty

    @property
    def like(self) -> Tensor:
        return self.objective.like

    @property
    def _ids(self) -> Int[Tensor, " m"]:
        return all_ids(self.examples) if self.ids is None else self.ids

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        total = torch.zeros_like(vectors)
        ids = self._ids
        for _, batch in self.examples.batches(ids):
            spot_check_batch(self.objective, batch)
            self._add_products(batch, vectors, total)
        return total.div_(len(ids))

    def _add_products(self, batch: Batch, vectors: Tensor, total: Tensor) -> None:
        space = self.objective.space
        params = make_leaf_params(self.objective.params)
        param_tensors = tuple(params.values())
        # Fused attention has no second derivative; the plain one gives the same numbers.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            losses = self.objective.losses(params, batch)
            finite = torch.isfinite(losses)
            if not bool(finite.all()):  # such an example counts as zero
                finite_batch = {name: tensor[finite] for name, tensor in batch.items()}
                return (
                    self._add_products(finite_batch, vectors, total) if bool(finite.any()) else None
                )
            loss = losses.sum()
            gradient = torch.autograd.grad(
                loss, param_tensors, create_graph=True, materialize_grads=True
            )
        for vector, accumulator in zip(vectors, total, strict=True):
            products = _differentiate(
                gradient, param_tensors, tuple(space.unflatten(vector).values())
            )
            for span, product in zip(space.slices, products, strict=True):
                accumulator[span] += product.reshape(-1)

    def on_all_data(self) -> "Hessian":
        full_ids = all_ids(self.examples)
        return self if torch.equal(self._ids.sort().values, full_ids) else replace(self, ids=None)

    def sample(self, generator: torch.Generator, size: int) -> "Hessian":
        ids = self._ids
        return replace(self, ids=ids[torch.randint(len(ids), (size,), generator=generator)])


def _differentiate(
    gradient: tuple[Tensor, ...], param_tensors: tuple[Tensor, ...], vector: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(
            gradient, param_tensors, vector, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            "Hessian",
            "a model all of whose operations can be differentiated twice",
            str(error).splitlines()[0],
            'Load it with attn_implementation="eager", or take fastif.GaussNewton, which needs one '
            "backward pass only.",
        ) from error
