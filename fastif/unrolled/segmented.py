"""SOURCE: unrolled differentiation with segments of a training in place of its steps."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import FactoredOperator
from fastif.data.examples import Examples, all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.solvers.gram import apply_factor, apply_factor_transpose, compute_gram_matrix
from fastif.unrolled.check_record import check_record, load_state
from fastif.unrolled.training_record import TrainingRecord, TrainingState

MAX_FACTOR_ROWS = 4_000
"""Largest number of factor rows of a segment's curvature by default."""
MAX_HELD_BYTES = 2**30
"""Memory for factor rows that are held while the others are streamed."""
SEED = 0


def segmented_removal_effects(
    record: TrainingRecord,
    objective: Objective,
    examples: ExamplesLike,
    query_gradients: Float[Tensor, "q p"],
    segments: int = 3,
    *,
    max_factor_rows: int = MAX_FACTOR_ROWS,
) -> Float[Tensor, "q n"]:
    """Differentiate through a training segment by segment: SOURCE (Bae et al., 2024).

        a_{l-1} = S_lᵀ a_l,    S_l = exp(-D_l G_l),    a_L = ∇M_z(θ_T)
        removal_effect[z, i] = 1/n Σ_l a_lᵀ D_l^½ φ(D_l^½ G_l D_l^½) D_l^½ ∇L_i(θ_l)

    with φ(x) = (1 - e⁻ˣ) / x. In segment l the parameters, the Gauss-Newton matrix G_l and the
    gradients are those of the recorded state θ_l nearest to its middle, and D_l is the diagonal
    matrix of the learning rates, summed over its steps, times Adam's 1 / (√v + ε), or 1 / (1 - μ)
    for SGD with momentum μ. It takes L states and no repeated step, so it costs about as much as L
    attributions, and ignores the order of the rows. Weight decay shrinks the adjoints of each
    segment as a whole.

    Memory: 4·q·p numbers, a Gram matrix of the factor rows, and 1 GB of factor rows.

    Args:
        record: Record of the training, without gradient clipping.
        objective: Model at the final parameters of the training; it is not changed.
        examples: The n training rows in the order of the record.
        query_gradients: Gradients [q p] of the queries' measures at the final parameters.
        segments: Number L of segments of equal numbers of steps; at most the number of steps.
        max_factor_rows: Largest number of factor rows of G_l; of more, G_l is of a random sample of
            training rows.

    Returns:
        Removal effects of the training rows, in nats for a loss; positive = helpful.

    Raises:
        InputError: The record does not belong to the model or these rows, its gradients were
            clipped, or the number of segments is out of range.
    """
    examples = try_table(objective, examples, "training set")
    check_record(record, objective, examples)
    _check_settings(record, segments)
    adjoints = query_gradients.clone()
    effects = adjoints.new_zeros(len(adjoints), len(examples))
    for start, stop in reversed(_divide_steps(record.num_steps, segments)):
        segment = _read_segment(record, objective, start, stop)
        curvature = _Curvature.factor(segment, examples, max_factor_rows)
        root = segment.rates.sqrt()
        solved = curvature.apply(adjoints * root, _integrate_decay) * root
        _add_effects(segment.gradients, examples, solved * _integrate_decay(segment.decay), effects)
        adjoints = curvature.apply(adjoints * root, lambda x: torch.exp(-x)) / root
        adjoints *= torch.exp(-segment.decay)
    return effects.div_(len(examples))


@dataclass(frozen=True, eq=False)
class _Segment:
    """Stretch of the training with one state: D [p], decay [p] and the model at that state."""

    objective: Objective
    rates: Float[Tensor, " p"]
    decay: Float[Tensor, " p"]

    @property
    def gradients(self) -> Gradients:
        return Gradients(self.objective)


class _ScaledFactor(FactoredOperator):
    """D^½ G D^½ as a factored operator: the factor rows of G times the roots of D."""

    def __init__(self, factored: FactoredOperator, root: Float[Tensor, " p"]) -> None:
        self.factored, self.root, self.batch_size = factored, root, factored.batch_size

    @property
    def size(self) -> int:
        return self.factored.size

    @property
    def like(self) -> Tensor:
        return self.factored.like

    @property
    def count(self) -> int:
        return self.factored.count

    @property
    def rows_per_example(self) -> int:
        return self.factored.rows_per_example

    def sample(self, generator: torch.Generator, size: int) -> "FactoredOperator":
        raise NotImplementedError("a segment's curvature is sampled before it is scaled")

    def on_all_data(self) -> "FactoredOperator":
        return self

    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        for tile in self.factored.factor_rows(batch_index):
            tile.gradients.mul_(self.root)
            yield tile


@dataclass(frozen=True, eq=False)
class _Curvature:
    """Functions of a low-rank matrix VᵀV / n by the eigenvectors of its Gram matrix VVᵀ / n."""

    factored: FactoredOperator
    values: Float[Tensor, " r"]
    vectors: Float[Tensor, "r r"]

    @classmethod
    def factor(cls, segment: _Segment, examples: Examples, max_factor_rows: int) -> "_Curvature":
        whole = GaussNewton(segment.objective, examples)
        size = min(len(examples), max(1, max_factor_rows // whole.rows_per_example))
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(SEED))
        sample = GaussNewton(segment.objective, examples, order[:size].sort().values)
        factored = _ScaledFactor(sample, segment.rates.sqrt())
        batch_bytes = factored.batch_size * factored.rows_per_example * factored.size
        batch_bytes *= factored.like.element_size()
        held_batches = max(1, MAX_HELD_BYTES // batch_bytes)
        gram = compute_gram_matrix(factored, held_batches).double() / factored.count
        values, vectors = torch.linalg.eigh(gram)
        return cls(factored, values.clamp_min(0), vectors)

    def apply(
        self, rows: Float[Tensor, "q p"], function: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "q p"]:
        """Return f(VᵀV / n) x = f(0) x + 1/n Vᵀ U ((f(σ) - f(0)) / σ) Uᵀ V x for each row x."""
        at_zero = function(self.values.new_zeros(1))
        smallest = self.values.amax() * torch.finfo(self.values.dtype).eps
        slopes = (function(self.values) - at_zero) / self.values.clamp_min(smallest)
        slopes = torch.where(self.values > smallest, slopes, 0.0) / self.factored.count
        inner = apply_factor(self.factored, rows) @ self.vectors * slopes
        return apply_factor_transpose(
            self.factored, inner @ self.vectors.T, rows * at_zero.to(rows)
        )


def _integrate_decay(rates: Tensor) -> Tensor:
    """Return φ(x) = (1 - e⁻ˣ) / x, the integral of e⁻ᵗˣ over t from 0 to 1; 1 at x = 0."""
    safe = torch.where(rates > 0, rates, 1.0)
    return torch.where(rates > 0, -torch.expm1(-safe) / safe, 1.0)


def _divide_steps(steps: int, segments: int) -> list[tuple[int, int]]:
    bounds = [steps * part // segments for part in range(segments + 1)]
    return list(pairwise(bounds))


def _read_segment(record: TrainingRecord, objective: Objective, start: int, stop: int) -> _Segment:
    middle = (start + stop) / 2
    # Adam has no second moments before its first step.
    stored_steps = record.state_steps[int(record.optimizer.kind != "sgd") :]
    step = min(stored_steps, key=lambda stored: (abs(stored - middle), stored))
    state = load_state(record, step, objective)
    model = copy.copy(objective)
    model.params = objective.space.unflatten(state.params)
    names = [(name, place) for place, group in enumerate(record.groups) for name in group.names]
    sums = record.learning_rates[start:stop].double().sum(0)
    params = objective.space.unflatten(state.params)

    def spread(values: list[float]) -> Tensor:
        return objective.space.flatten(
            {name: torch.full_like(params[name], values[place]) for name, place in names}
        )

    learning = spread(sums.tolist())
    rates = learning * _precondition(record, state)
    decays = spread([group.weight_decay for group in record.groups])
    decay = decays * (learning if record.optimizer.kind == "adamw" else rates)
    return _Segment(model, rates, decay)


def _precondition(record: TrainingRecord, state: TrainingState) -> Tensor:
    """Return the factor of each coordinate by which the optimiser multiplies a gradient."""
    spec = record.optimizer
    if spec.kind == "sgd":
        gain = (1 - spec.dampening) / (1 - spec.momentum) if spec.momentum else 1.0
        return torch.full_like(state.params, gain)
    root = math.sqrt(1 - spec.betas[1] ** max(1, state.step))
    return 1 / (state.moments[1].sqrt() / root + spec.eps)


def _add_effects(
    gradients: Gradients, examples: Examples, vectors: Tensor, effects: Float[Tensor, "q n"]
) -> None:
    for ids in examples.length_buckets(all_ids(examples)):
        effects[:, ids] += gradients.compute_loss_tile(examples.take(ids)).dot(vectors)


def _check_settings(record: TrainingRecord, segments: int) -> None:
    if not 1 <= segments <= record.num_steps:
        expected = f"a number from 1 to {record.num_steps}, the number of steps"
        raise InputError("segments", expected, f"{segments}", "Use three or four.")
    spec = record.optimizer
    if spec.max_grad_norm is not None:
        expected = "a training without gradient clipping, which depends on each step"
        got = f"max_grad_norm {spec.max_grad_norm}"
        raise InputError("SOURCE", expected, got, "Use unrolled_removal_effects.")
    if spec.kind == "sgd" and spec.momentum >= 1:
        got, expected = f"momentum {spec.momentum}", "a momentum below 1"
        raise InputError("SOURCE", expected, got, "Use unrolled_removal_effects.")
