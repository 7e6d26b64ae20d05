"""Response of the parameters to edited training examples: further Newton steps after the first."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.edited_prefix import EditedPrefix
from fastif.data.examples import Examples
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params


@dataclass(frozen=True, eq=False)
class Response:
    """Change of the parameters as a response to edited examples.

    Attributes:
        change: Change of the parameters with the smallest gradient.
        residual: Norm of the gradient there, relative to that at the start; 0 at the minimum, above
            1 if no step made it smaller, where the change is that of the first step.
    """

    change: Float[Tensor, " p"]
    residual: float


class EditedResponse:
    """Minimum of the training objective with edited examples, near the trained parameters θ₀.

        Φ_S(θ) = F_S(θ) - ∇F(θ₀)ᵀ θ + λ/2 ‖θ - θ₀‖²

    the proximal objective of Bae et al. (2022) with the distance of parameters: F is the mean loss,
    F_S that with the examples of S removed or relabelled (n stays), and λ the effective damping.
    The first Newton step from θ₀ is that of `EditedPrefix`. It takes the curvature of the other
    examples as constant, but relabelled ones move the outputs far enough to change it. Further
    steps are by BFGS (Nocedal and Wright, 2006) from this matrix, with one gradient of Φ_S each, a
    pass over the training set. A convex model reaches the minimum itself: the retrained model.

    Args:
        prefix: Examples to edit, with their solved gradients.
        labels: Labels of all training examples.
        left_out: Positions of training examples without a finite gradient.
    """

    def __init__(
        self, prefix: EditedPrefix, labels: Int[Tensor, " n"], left_out: Int[Tensor, " d"]
    ) -> None:
        self.prefix, self.labels = prefix, labels
        self.objective, self.train = prefix.attributor.objective, prefix.attributor.train
        self._kept = torch.ones(len(labels), dtype=torch.bool)
        self._kept[left_out] = False
        self._at_start: Float[Tensor, " p"] | None = None

    def refine(self, sizes: Sequence[int], steps: int) -> list[Response]:
        """Return the responses to edited sets after `steps` further steps.

        Args:
            sizes: Numbers of edited examples, the first ones of the prefix.
            steps: Number of further steps.
        """
        firsts = [self.prefix.compute_step(size).step for size in sizes]
        paths = [
            _Path(first, self._compute_start(size))
            for size, first in zip(sizes, firsts, strict=True)
        ]
        active = [place for place, first in enumerate(firsts) if bool(first.isfinite().all())]
        for step in range(steps + 1):
            for place in active:
                paths[place].arrive(self._compute_pull(sizes[place], paths[place].change))
            if step == steps or not active:
                break
            rhs = torch.stack([paths[place].project() for place in active])
            used = [sizes[place] for place in active]
            solved = self.prefix.apply_inverse(used, rhs.to(self.objective.like))
            for place, direction in zip(active, solved, strict=True):
                paths[place].advance(direction)
        unknown = set(range(len(sizes))) - set(active)
        return [
            Response(firsts[place], torch.inf) if place in unknown else path.get_response()
            for place, path in enumerate(paths)
        ]

    def _compute_pull(self, size: int, change: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Return -n times the gradient of Φ_S after a change of the parameters."""
        if self._at_start is None:
            self._at_start = _sum_gradients(self.objective, self._edit(0), None)
        moved = _sum_gradients(self.objective, self._edit(size), change)
        damping = self.prefix.attributor.operator.damping
        return self._at_start - moved - len(self.labels) * damping * change

    def _compute_start(self, size: int) -> Float[Tensor, " p"]:
        """Return -n times the gradient of Φ_S at θ₀, which only the edited rows have."""
        ids, labels = self.prefix.ids[:size], self.prefix.labels
        edited = self.train.subset(ids)
        total = _sum_gradients(self.objective, edited, None)
        if labels is not None:
            relabeled = RelabeledExamples(edited, labels[:size])
            total -= _sum_gradients(self.objective, relabeled, None)
        return total

    def _edit(self, size: int) -> Examples:
        ids, kept, new = self.prefix.ids[:size], self._kept.clone(), self.prefix.labels
        if new is None:
            kept[ids] = False
            return self.train.subset(kept.nonzero()[:, 0])
        labels = self.labels.clone()
        labels[ids.to(labels.device)] = new[:size].to(labels)
        return RelabeledExamples(self.train, labels).subset(kept.nonzero()[:, 0])


class _Path:
    """Path of BFGS steps of one set, each from the change with the smallest gradient so far.

    A step after which the gradient is larger is not taken, but its pair tells the curvature along
    it; where that is not positive, a quarter of the step is tried next.
    """

    def __init__(self, first: Float[Tensor, " p"], start: Float[Tensor, " p"]) -> None:
        self.change, self.start = first, float(start.norm())
        self._first, self._after_first = first, torch.inf
        self._best, self._pull, self._smallest = torch.zeros_like(first), start, self.start
        self._shorter: Float[Tensor, " p"] | None = None
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._factors: list[Tensor] = []

    def get_response(self) -> Response:
        """Return the change with the smallest gradient, or the first where none has a smaller."""
        if not self.start:
            return Response(self._best, 0.0)
        if self._smallest < self.start:
            return Response(self._best, self._smallest / self.start)
        return Response(self._first, self._after_first / self.start)

    def arrive(self, pull: Float[Tensor, " p"]) -> None:
        """Take note of the pull, minus the gradient, at the present change."""
        if self.change is self._first:
            self._after_first = float(pull.norm())
        step, difference = self.change - self._best, self._pull - pull
        is_smaller, is_convex = float(pull.norm()) < self._smallest, float(step @ difference) > 0
        if is_convex:
            self._pairs.append((step, difference))
        if is_smaller:
            self._best, self._pull, self._smallest = self.change, pull, float(pull.norm())
        self._shorter = None if is_smaller or is_convex else step / 4

    def project(self) -> Float[Tensor, " p"]:
        """Return the right-hand side of the next solve: first half of the two-loop recursion."""
        rhs, self._factors = self._pull.clone(), []
        for step, difference in reversed(self._pairs):
            factor = (step @ rhs) / (step @ difference)
            self._factors.append(factor)
            rhs -= factor * difference
        return rhs

    def advance(self, direction: Float[Tensor, " p"]) -> None:
        """Take the step of a solution: second half of the two-loop recursion."""
        direction = direction.to(self._best)
        for (step, difference), factor in zip(self._pairs, reversed(self._factors), strict=True):
            back = (difference @ direction) / (step @ difference)
            direction = direction + (factor - back) * step
        self.change = self._best + (direction if self._shorter is None else self._shorter)


def _sum_gradients(
    objective: Objective, examples: Examples, change: Float[Tensor, " p"] | None
) -> Float[Tensor, " p"]:
    """Return the gradient of the sum of the losses, at the parameters after a change."""
    values = objective.params
    if change is not None:
        changes = objective.space.unflatten(change.to(objective.like))
        values = {name: value + changes[name] for name, value in values.items()}
    params = make_leaf_params(values)
    total = torch.zeros(objective.space.size, dtype=torch.float64, device=objective.like.device)
    for _, batch in examples.batches():
        loss = objective.losses(params, batch).sum()
        gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        named = zip(params.items(), gradients, strict=True)
        total += objective.space.flatten(
            {n: torch.zeros_like(value) if g is None else g for (n, value), g in named}
        )
    return total
