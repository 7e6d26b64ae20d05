"""Hessian of the training loss, by Hessian-vector products with double backward."""

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
    """Hessian of the mean training loss, by exact Hessian-vector products (Pearlmutter, 1994).

        H = 1/n Σ_i ∇² L_i

    FastIF (Guo et al., 2021) inverts this matrix. The Hessian of a neural network is indefinite in
    general, so H + λI is positive definite only for a large enough damping λ;
    `fastif.solvers.definiteness` checks it.

    A product differentiates the gradient once more. The q vectors of a product share one forward
    and one backward pass for each batch. Fused attention kernels have no double backward: those of
    torch are replaced by the plain implementation here, others are refused. An example without a
    finite loss counts as zero.

    Args:
        objective: Trained model with its loss; its attributed parameters are the p columns of H.
        examples: Training set. Its `batch_size` is the number of examples in one backward pass.
        ids: Positions of the n examples in the mean, which may repeat; all examples by default.

    Raises:
        InputError: If a trial on a few rows refuses the model or the examples; from `apply`, if an
            operation of the model cannot be differentiated twice.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> examples = TensorExamples(points, torch.zeros(2, 1))
        >>> Hessian(ModuleObjective(model, SquaredError()), examples).to_dense()  # 2/n Σ x xᵀ
        tensor([[1., 0.],
                [0., 4.]])
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
        # Fused attention has no double backward; the plain implementation has equal outputs.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            losses = self.objective.losses(params, batch)
            finite = torch.isfinite(losses)
            if not bool(finite.all()):  # an example without a finite loss counts as zero
                finite_batch = {name: tensor[finite] for name, tensor in batch.items()}
                return (
                    self._add_products(finite_batch, vectors, total) if bool(finite.any()) else None
                )
            loss = losses.sum()
            gradient = torch.autograd.grad(
                loss, param_tensors, create_graph=True, materialize_grads=True
            )
        for vector, accumulator in zip(vectors, total, strict=True):
            products = differentiate_gradient(
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


def differentiate_gradient(
    gradient: tuple[Tensor, ...], param_tensors: tuple[Tensor, ...], vector: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Differentiate a gradient along a vector: the products of its Jacobian, transposed.

    Args:
        gradient: Gradient, made with `create_graph`.
        param_tensors: Leaves of the graph.
        vector: Cotangents of the gradient, in its shapes.

    Returns:
        One product for each leaf.

    Raises:
        InputError: An operation of the model cannot be differentiated twice.
    """
    try:
        return torch.autograd.grad(
            gradient, param_tensors, vector, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            "Hessian",
            "a model with operations that can be differentiated twice",
            str(error).splitlines()[0],
            'Load it with attn_implementation="eager", or use fastif.GaussNewton, which needs no '
            "double backward.",
        ) from error
