"""Products of a batch: adjoints with its Gauss-Newton matrix or Hessian, and with its gradients."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastif.curvature.hessian import differentiate_gradient
from fastif.data.examples import Batch, Examples
from fastif.gradients.per_example import Gradients
from fastif.losses.sqrt_hessian import gradient_in_sqrt_hessian
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params

BatchCurvature = Literal["gauss_newton", "hessian"]
"""Second derivative of a batch's loss in the recursion."""


class BatchProducts:
    """Products of adjoints with a batch's curvature and with the gradients of its examples.

    Args:
        objective: Model; its parameters are those of the step, set by the caller.
        examples: Training rows. Their `batch_size` is the number of examples with gradients in
            memory at once.
        curvature: "gauss_newton" multiplies with VᵀV of the batch's factor rows, for all queries in
            two matrix products. "hessian" takes one double backward pass for each query.
    """

    def __init__(self, objective: Objective, examples: Examples, curvature: BatchCurvature) -> None:
        self.objective, self.examples, self.curvature = objective, examples, curvature
        self.gradients = Gradients(objective)

    def accumulate(
        self,
        ids: Int[Tensor, " b"],
        outputs: Float[Tensor, "b c"],
        vectors: Float[Tensor, "q p"],
        totals: Float[Tensor, "q p"],
    ) -> Float[Tensor, "q b"]:
        """Add vectors @ (curvature of the batch's mean loss) to `totals`, in place.

        Args:
            ids: Positions of the batch's examples.
            outputs: Outputs of the batch at the present parameters.
            vectors: Vectors to multiply, one in each row.
            totals: Sums to which the products are added.

        Returns:
            Inner products of the vectors with the loss gradients of the examples, over their
            number b: the derivative by the weight of each example.
        """
        dots = vectors.new_empty(len(vectors), len(ids))
        for places, batch in self.examples.batches(ids):
            if self.curvature == "hessian":
                dots[:, places] = self._multiply_hessian(batch, len(ids), vectors, totals)
            else:
                dots[:, places] = self._multiply_factor(
                    batch, outputs[places], len(ids), vectors, totals
                )
        return dots

    def _multiply_factor(
        self, batch: Batch, outputs: Tensor, divisor: int, vectors: Tensor, totals: Tensor
    ) -> Float[Tensor, "q b"]:
        """Multiply with VᵀV; loss gradients are combinations of the factor rows where possible."""
        coefficients = gradient_in_sqrt_hessian(self.objective.loss, outputs, batch["labels"])
        coefficients = coefficients.to(vectors)
        dots = vectors.new_zeros(len(vectors), len(outputs))
        tiles = self.gradients.compute_sqrt_hessian_tiles(batch)
        for tile, column in zip(tiles, coefficients.T, strict=True):
            products = tile.dot(vectors).div_(divisor)
            tile.accumulate(totals, products)
            dots += products * column
        if not bool(torch.isfinite(coefficients).all()):
            dots = self.gradients.compute_loss_tile(batch).dot(vectors).div_(divisor)
        return dots

    def _multiply_hessian(
        self, batch: Batch, divisor: int, vectors: Tensor, totals: Tensor
    ) -> Float[Tensor, "q b"]:
        """Differentiate the weighted gradient, in the parameters and in the examples' weights."""
        space = self.objective.space
        params = make_leaf_params(self.objective.params)
        # Fused attention has no double backward; the plain implementation has equal outputs.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            losses = self.objective.losses(params, batch)
            weights = torch.ones_like(losses).requires_grad_()
            leaves = (*params.values(), weights)
            gradient = torch.autograd.grad(
                (weights * losses).sum() / divisor,
                leaves[:-1],
                create_graph=True,
                materialize_grads=True,
            )
        dots = vectors.new_empty(len(vectors), len(losses))
        for row, vector in enumerate(vectors):
            *products, dots[row] = differentiate_gradient(
                gradient, leaves, tuple(space.unflatten(vector).values())
            )
            for span, product in zip(space.slices, products, strict=True):
                totals[row, span] += product.reshape(-1)
        return dots
