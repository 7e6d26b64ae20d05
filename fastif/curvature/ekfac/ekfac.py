"""EK-FAC: a fitted, block-diagonal Gauss-Newton matrix that is inverted by dividing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.accumulators import HEADER, EkfacSums
from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.covariance_pass import compute_covariance_sums
from fastif.curvature.ekfac.eigendecompose import eigendecompose, make_block
from fastif.curvature.ekfac.eigenvalue_correction import compute_correction_sums
from fastif.curvature.ekfac.fit_spec import EkfacSpec, Labels
from fastif.curvature.ekfac.kronecker import KroneckerBlock
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import LinearOperator
from fastif.errors import InputError
from fastif.models.parameters import ParamSpace


@dataclass(frozen=True, eq=False)
class Ekfac(LinearOperator):
    """A ≈ the Gauss-Newton matrix, one block a layer, in the eigenbasis of Kronecker factors.

    For a linear layer with inputs a (1 appended for the bias) and output gradients δ of the root
    columns s_j of the loss's curvature,

        Q_A, Q_G = eigenvectors of mean a aᵀ and mean Σ_j δ δᵀ
        Λ = mean over examples of Σ_j (Q_Gᵀ g Q_A)²,    g = Σ_t δ_t a_tᵀ an example's gradient
        A V = Q_G (Λ ∘ (Q_Gᵀ V Q_A)) Q_Aᵀ

    (George et al., 2018, "Fast approximate natural gradient descent in a Kronecker-factored
    eigenbasis"; Grosse et al., 2023, for influence.) Λ is the exact diagonal of the Gauss-Newton
    matrix in that basis, so the trace is exact; what is lost is what it has off the diagonal
    there, and between layers. All other parameters get an exact dense block for each owner of up to
    1,024 numbers, else their exact diagonal: see `fastif.curvature.ekfac.parameter_groups`.

    Fitting is two passes over the training set, of which each can be done in pieces whose sums add
    up: `fit` is

        factors = Ekfac.factors(curvature)             # pieces: sums + sums
        kfac = Ekfac.of_factors(factors, curvature.like)
        ekfac = kfac.corrected(kfac.corrections(curvature))

    and `kfac`, between the passes, is the plain Kronecker-factored matrix (Martens and Grosse,
    2015; "expand" in Eschenhagen et al., 2023).

    Attributes:
        spec: which parameters make which block.
        blocks: in the order of `spec.groups`.

    >>> from torch import nn
    >>> from fastif import ModuleObjective, SquaredError, TensorExamples
    >>> examples = TensorExamples(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1))
    >>> objective = ModuleObjective(nn.Linear(2, 1, bias=False), SquaredError())
    >>> ekfac = Ekfac.fit(GaussNewton(objective, examples))
    >>> ekfac.to_dense().round(decimals=4)  # exact for one output: 2/n Σ x xᵀ
    tensor([[1., 0.],
            [0., 4.]])
    >>> ekfac.apply_inverse(torch.ones(1, 2), damping=1.0)
    tensor([[0.5000, 0.2000]])
    """

    spec: EkfacSpec
    blocks: tuple[Block, ...]

    @classmethod
    def fit(cls, curvature: GaussNewton, *, labels: Labels = "auto", seed: int = 0) -> "Ekfac":
        """Both passes over the examples of `curvature`, in its batches.

        Args:
            curvature: the matrix that is approximated.
            labels: "exact" takes every column of the root, so the expectation over labels is
                exact. "sampled" takes one random mixture S z of them for each example, z = ±1, of
                the same expectation: it stands for drawing labels from the model's own
                distribution, works for every loss and varies less. "auto" samples above 10
                columns.
            seed: of the signs z, which depend on an example's position alone.

        Raises:
            InputError: there is no training example of finite loss, or the sums overflow.
        """
        kfac = cls.from_covariances(
            cls.accumulate_covariances(curvature, labels=labels, seed=seed), curvature.like
        )
        return kfac.apply_corrections(kfac.accumulate_corrections(curvature))

    @staticmethod
    def accumulate_covariances(
        curvature: GaussNewton, *, labels: Labels = "auto", seed: int = 0
    ) -> EkfacSums:
        """The first pass, over one piece of the training set or all of it."""
        return compute_covariance_sums(curvature, EkfacSpec.from_curvature(curvature, labels, seed))

    @classmethod
    def from_covariances(cls, sums: EkfacSums, like: Tensor) -> "Ekfac":
        """K-FAC from the first pass: Λ is the outer product of the factors' eigenvalues.

        Raises:
            InputError: the sums are not finite.
        """
        count = sums.tensors["count"]
        block_tensors = [
            eigendecompose(sums.select_block(index), count)
            for index in range(len(sums.spec.groups))
        ]
        return cls._from_block_tensors(sums.spec, block_tensors, like)

    def accumulate_corrections(self, curvature: GaussNewton) -> EkfacSums:
        """The second pass, over one piece of the training set or all of it."""
        return compute_correction_sums(curvature, self.spec, self._kronecker_blocks())

    def apply_corrections(self, sums: EkfacSums) -> "Ekfac":
        """EK-FAC: Λ from the second pass."""
        blocks = list(self.blocks)
        for index, block in self._kronecker_blocks().items():
            eigenvalue_grid = sums.tensors[f"{index}.values"] / sums.tensors["count"]
            blocks[index] = replace(
                block, eigenvalue_grid=eigenvalue_grid.to(block.eigenvalue_grid)
            )
        return Ekfac(self.spec, tuple(blocks))

    @property
    def size(self) -> int:
        return self.spec.space.size

    @property
    def like(self) -> Tensor:
        return self.blocks[0].eigenvalues.new_empty(0)

    @property
    def ridge(self) -> float:
        return self.spec.ridge

    @property
    def is_semidefinite(self) -> bool:
        return True

    @property
    def eigenvalues(self) -> Float[Tensor, " p"]:
        """All eigenvalues, block by block."""
        return torch.cat([block.eigenvalues.flatten() for block in self.blocks])

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        out = torch.empty_like(vectors)
        for block in self.blocks:
            block.apply(vectors, out)
        return out

    def apply_inverse(
        self, vectors: Float[Tensor, "q p"], damping: float, negligible: float = 1e-3
    ) -> Float[Tensor, "q p"]:
        """Rows @ (A + damping I)⁻¹, to a relative error of at most `negligible` in every row.

        Directions whose eigenvalues are all below negligible · damping are divided by the damping
        alone, which saves most of the work; 0 turns every row into all directions. The result is
        linear in the rows, symmetric and positive definite whatever `negligible` is.

        Raises:
            InputError: the damping is not positive, or `negligible` is not from 0 to below 1.
        """
        if not damping > 0 or not 0 <= negligible < 1:
            raise InputError(
                "EK-FAC",
                "a damping > 0 and 0 <= negligible < 1",
                f"damping {damping}, negligible {negligible}",
                "Take a positive damping, say 0.1, and negligible = 1e-3.",
            )
        out = torch.empty_like(vectors)
        for block in self.blocks:
            block.apply_inverse(vectors, out, damping, negligible)
        return out

    def state_dict(self) -> dict[str, Tensor]:
        """Everything as plain tensors, ready for safetensors."""
        tensors = {HEADER: self.spec.to_header()}
        for index, block in enumerate(self.blocks):
            for name, tensor in block.tensors().items():
                tensors[f"{index}.{name}"] = tensor
        return tensors

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], space: ParamSpace, like: Tensor
    ) -> "Ekfac":
        """What `state_dict` wrote, for rows like `like`.

        Raises:
            InputError: it was fitted for other parameters.
        """
        spec = EkfacSpec.from_header(state[HEADER])
        if spec.space != space:
            raise InputError(
                "EK-FAC factor",
                f"one fitted for the {space.size} attributed parameters {_format_names(space)}",
                f"one of the {spec.space.size} parameters {_format_names(spec.space)}",
                "Fit it again for this model and these parameters.",
            )
        block_tensors = []
        for index in range(len(spec.groups)):
            prefix = f"{index}."
            block_tensors.append(
                {
                    name.removeprefix(prefix): tensor
                    for name, tensor in state.items()
                    if name.startswith(prefix)
                }
            )
        return cls._from_block_tensors(spec, block_tensors, like)

    @classmethod
    def _from_block_tensors(
        cls, spec: EkfacSpec, block_tensors: list[dict[str, Tensor]], like: Tensor
    ) -> "Ekfac":
        blocks = [
            make_block(
                group,
                spec.space,
                {name: tensor.to(like).contiguous() for name, tensor in tensors.items()},
            )
            for group, tensors in zip(spec.groups, block_tensors, strict=True)
        ]
        return cls(spec, tuple(blocks))

    def _kronecker_blocks(self) -> dict[int, KroneckerBlock]:
        return {
            i: block for i, block in enumerate(self.blocks) if isinstance(block, KroneckerBlock)
        }


def _format_names(space: ParamSpace) -> str:
    return ", ".join(space.names[:2]) + (", ..." if len(space.names) > 2 else "")
