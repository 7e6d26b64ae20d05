"""EK-FAC: block-diagonal approximation of the Gauss-Newton matrix with a closed-form inverse."""

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
from fastif.gradients.gradient_tile import aligned_rows
from fastif.models.parameters import ParamSpace


@dataclass(frozen=True, eq=False)
class Ekfac(LinearOperator):
    """EK-FAC approximation of the Gauss-Newton matrix (George et al., 2018).

    One block for each layer, diagonal in the eigenbasis of its Kronecker factors. Grosse et al.
    (2023) use it for influence functions. For a linear layer with inputs a (1 appended for the
    bias) and output gradients δ of the columns s_j of the square root of the loss's Hessian,

        Q_A, Q_G = eigenvectors of mean a aᵀ and mean Σ_j δ δᵀ
        Λ = mean over examples of Σ_j (Q_Gᵀ g Q_A)²,    g = Σ_t δ_t a_tᵀ
        A X = Q_G (Λ ∘ (Q_Gᵀ X Q_A)) Q_Aᵀ

    where X [o i] is a vector as a matrix of outputs x inputs. Λ is the exact diagonal of the
    Gauss-Newton matrix in this basis, so the trace is exact. Entries off the diagonal and between
    layers are lost. All other parameters get an exact dense block for each module with up to 1,024
    of them, and else their exact diagonal: see `fastif.curvature.ekfac.parameter_groups`.

    `fit` takes two passes over the training set. Each pass can run on shards of the data, with sums
    that are added:

        covariances = Ekfac.accumulate_covariances(curvature)
        kfac = Ekfac.from_covariances(covariances, curvature.like)
        ekfac = kfac.apply_corrections(kfac.accumulate_corrections(curvature))

    `kfac`, between the two passes, is plain K-FAC (Martens and Grosse, 2015; the "expand" setting
    of Eschenhagen et al., 2023).

    Attributes:
        spec: Parameter groups and sampling settings of the fit.
        blocks: Curvature blocks in the order of `spec.groups`.

    Examples:
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
        """Fit EK-FAC to a Gauss-Newton matrix, in two passes over its examples.

        Args:
            curvature: Gauss-Newton matrix to approximate.
            labels: "exact" sums over all columns of S_i, so the expectation over labels is exact.
                "sampled" mixes the columns of each example into S_i z with random signs z = ±1. The
                expectation is equal, the cost is one backward pass for each batch, and the variance
                is below that of labels sampled from the model. "auto" is "sampled" above 10
                columns, else "exact".
            seed: Random seed of the signs z, which depend on it and an example's position only.

        Raises:
            InputError: If no training example has a finite loss, or sums overflow.
        """
        kfac = cls.from_covariances(
            cls.accumulate_covariances(curvature, labels=labels, seed=seed), curvature.like
        )
        return kfac.apply_corrections(kfac.accumulate_corrections(curvature))

    @staticmethod
    def accumulate_covariances(
        curvature: GaussNewton, *, labels: Labels = "auto", seed: int = 0
    ) -> EkfacSums:
        """Run the first pass over one shard of the training set, or all of it."""
        return compute_covariance_sums(curvature, EkfacSpec.from_curvature(curvature, labels, seed))

    @classmethod
    def from_covariances(cls, sums: EkfacSums, like: Tensor) -> "Ekfac":
        """Return K-FAC from the first pass: Λ is the outer product of the factors' eigenvalues.

        Args:
            sums: Sums of the first pass over the whole training set.
            like: Tensor with the dtype and device of the result.

        Raises:
            InputError: If the sums are not finite.
        """
        count = sums.tensors["count"]
        block_tensors = [
            eigendecompose(sums.select_block(index), count)
            for index in range(len(sums.spec.groups))
        ]
        return cls._from_block_tensors(sums.spec, block_tensors, like)

    def accumulate_corrections(self, curvature: GaussNewton) -> EkfacSums:
        """Run the second pass over one shard of the training set, or all of it."""
        return compute_correction_sums(curvature, self.spec, self._kronecker_blocks())

    def apply_corrections(self, sums: EkfacSums) -> "Ekfac":
        """Return EK-FAC: the blocks of K-FAC with Λ from the second pass."""
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
        """All p eigenvalues, block by block."""
        return torch.cat([block.eigenvalues.flatten() for block in self.blocks])

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        out = aligned_rows(vectors, len(vectors), self.size)
        for block in self.blocks:
            block.apply(vectors, out)
        return out

    def apply_inverse(
        self, vectors: Float[Tensor, "q p"], damping: float, negligible: float = 1e-3
    ) -> Float[Tensor, "q p"]:
        """Return `vectors @ (A + damping·I)⁻¹` with a relative error of at most `negligible` each.

        Directions with eigenvalues below negligible · damping are divided by the damping alone,
        which saves most of the work. The result is linear in the vectors, symmetric and positive
        definite for every `negligible`.

        Args:
            vectors: Right-hand sides, one in each row.
            damping: Damping λ > 0.
            negligible: Allowed relative error, from 0 (exact) to below 1.

        Raises:
            InputError: If the damping is not positive, or `negligible` is out of range.
        """
        if not damping > 0 or not 0 <= negligible < 1:
            raise InputError(
                "EK-FAC",
                "a damping > 0 and 0 <= negligible < 1",
                f"damping {damping}, negligible {negligible}",
                "Set a positive damping, say 0.1, and negligible = 1e-3.",
            )
        out = aligned_rows(vectors, len(vectors), self.size)
        for block in self.blocks:
            block.apply_inverse(vectors, out, damping, negligible)
        return out

    def state_dict(self) -> dict[str, Tensor]:
        """Return the fit as plain tensors, for a safetensors file."""
        tensors = {HEADER: self.spec.to_header()}
        for index, block in enumerate(self.blocks):
            for name, tensor in block.tensors().items():
                tensors[f"{index}.{name}"] = tensor
        return tensors

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], space: ParamSpace, like: Tensor
    ) -> "Ekfac":
        """Restore a fit from the tensors of `state_dict`.

        Args:
            state: Tensors by name.
            space: Attributed parameters that the fit must belong to.
            like: Tensor with the dtype and device of the result.

        Raises:
            InputError: If it was fitted for other parameters.
        """
        spec = EkfacSpec.from_header(state[HEADER])
        if spec.space != space:
            raise InputError(
                "EK-FAC factor",
                f"a fit for the {space.size} attributed parameters {_format_names(space)}",
                f"a fit for {spec.space.size} parameters {_format_names(spec.space)}",
                "Fit EK-FAC again for this model and these parameters.",
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
