"""The training loss, and the root of its curvature in the outputs."""

from abc import abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.measure import Measure


class Loss(Measure):
    """A measure that was minimised: convex in the outputs, with its Hessian there as a product."""

    @abstractmethod
    def root(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        """S with S Sᵀ = the Hessian of the loss in the outputs, example by example.

        Its few columns r are what a Gauss-Newton product has to pull back through the model; their
        number may depend on the number of outputs, never on an example.
        """


def as_outputs(
    targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b c"]
) -> Float[Tensor, "b c"]:
    """Targets that are numbers, one for each output, in the outputs' shape and type.

    Raises:
        InputError: there are more or fewer of them than outputs.
    """
    if targets.numel() != outputs.numel():
        raise InputError(
            "targets",
            f"{outputs.shape[-1]} numbers an example, one for each output of the model",
            f"shape {tuple(targets.shape)} for {len(outputs)} examples",
            "Give labels of shape [n c], or [n] for a model of one output.",
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


def as_weights(
    weights: Sequence[float], outputs: Float[Tensor, "b c"], where: str
) -> Float[Tensor, " c"]:
    """Weights, one for each output, in the outputs' type.

    Raises:
        InputError: there are more or fewer of them than outputs.
    """
    if len(weights) != outputs.shape[1]:
        raise InputError(
            where,
            f"{outputs.shape[1]} numbers, one for each output of the model",
            f"{len(weights)}",
            "Give one weight for each label, in the order of the outputs.",
        )
    return outputs.new_tensor(weights)
