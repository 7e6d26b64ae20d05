"""Optimiser of a recorded training: its kind, its constants and its groups of parameters."""

import math
from dataclasses import dataclass
from typing import Literal

from fastif.errors import InputError

OptimizerKind = Literal["sgd", "adam", "adamw"]
KINDS: tuple[OptimizerKind, ...] = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with one weight decay and one learning rate, as torch's parameter groups.

    Attributes:
        names: Full names of the parameters.
        weight_decay: Weight decay, 0 or more.
    """

    names: tuple[str, ...]
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight_decay < math.inf:
            raise _refuse("weight_decay", "a finite number >= 0", self.weight_decay)


@dataclass(frozen=True)
class OptimizerSpec:
    """Optimiser of a training, with the constants and the arithmetic of `torch.optim`.

    AdamW decouples the weight decay from the gradient; Adam and SGD add weight_decay · params to
    it. With both, the gradient is clipped before the decay is added.

    Attributes:
        kind: "sgd", "adam" or "adamw".
        momentum: Momentum μ of SGD, 0 or more.
        dampening: Dampening of SGD's momentum, from 0 to 1.
        nesterov: Whether SGD's momentum is Nesterov's.
        betas: Decay rates of the first and second moment of Adam and AdamW, each in [0, 1).
        eps: Constant of Adam and AdamW that is added to the square root of the second moment, > 0.
        max_grad_norm: Largest norm of the gradient of all parameters, > 0; longer ones are scaled
            to it (`torch.nn.utils.clip_grad_norm_`). None for no clipping.

    Raises:
        InputError: A constant is out of its range.

    Examples:
        >>> OptimizerSpec("adamw").num_moments, OptimizerSpec("sgd", momentum=0.9).num_moments
        (2, 1)
    """

    kind: OptimizerKind
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise _refuse("kind", " or ".join(KINDS), self.kind)
        if not 0 <= self.momentum < math.inf:
            raise _refuse("momentum", "a finite number >= 0", self.momentum)
        if not 0 <= self.dampening <= 1:
            raise _refuse("dampening", "a number from 0 to 1", self.dampening)
        if self.nesterov and not (self.momentum > 0 and self.dampening == 0):
            raise _refuse("nesterov", "a momentum > 0 and no dampening", self.momentum)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise _refuse("betas", "two numbers in [0, 1)", self.betas)
        if not 0 < self.eps < math.inf:
            raise _refuse("eps", "a finite number > 0", self.eps)
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise _refuse("max_grad_norm", "a number > 0, or None", self.max_grad_norm)

    @property
    def num_moments(self) -> int:
        """Number of moments in the optimiser's state: 2, 1 for momentum alone, or 0."""
        return int(self.momentum > 0) if self.kind == "sgd" else 2


def _refuse(key: str, expected: str, got: object) -> InputError:
    remedy = "Give the values that the optimiser of the training had."
    return InputError(f"optimizer {key}", expected, f"{got}", remedy)
