"""Small trainings by torch's own optimisers, recorded by hand, and the truth of their effects.

The truth differentiates the whole training by float64 autograd in the weights of the examples. Its
steps are written from the papers' formulas and share no line with the library.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fastif import CrossEntropy, ModuleObjective, TensorExamples
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup
from fastif.unrolled.training_record import TrainingRecord, TrainingState, digest_weights

ROWS, QUERIES, EPOCHS, BATCH = 13, 4, 3, 5
DECAYED, SPARED = ("0.weight", "2.weight"), ("0.bias", "2.bias")


@dataclass(frozen=True)
class Case:
    """An optimiser with its options as torch has them."""

    spec: OptimizerSpec
    rate: float
    decays: tuple[float, float] = (0.0, 0.0)
    rate_factors: tuple[float, float] = (1.0, 1.0)

    def make_optimizer(self, groups: list[list[Tensor]]) -> torch.optim.Optimizer:
        options = [
            {"params": params, "weight_decay": decay, "lr": self.rate}
            for params, decay in zip(groups, self.decays, strict=True)
        ]
        spec = self.spec
        if spec.kind == "sgd":
            momentum = {"momentum": spec.momentum, "dampening": spec.dampening}
            return torch.optim.SGD(options, **momentum, nesterov=spec.nesterov)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.kind]
        return kind(options, betas=spec.betas, eps=spec.eps)


CASES = {
    "sgd": Case(OptimizerSpec("sgd"), 0.5),
    "sgd with decay": Case(OptimizerSpec("sgd"), 0.5, (0.1, 0.0)),
    "momentum": Case(OptimizerSpec("sgd", momentum=0.8), 0.2, (0.1, 0.02)),
    "dampening": Case(OptimizerSpec("sgd", momentum=0.8, dampening=0.3), 0.3, (0.1, 0.0)),
    "nesterov": Case(OptimizerSpec("sgd", momentum=0.7, nesterov=True), 0.2, (0.1, 0.0)),
    "clipped momentum": Case(OptimizerSpec("sgd", momentum=0.8, max_grad_norm=0.3), 0.4),
    "adam": Case(OptimizerSpec("adam"), 0.05),
    "coupled adam": Case(OptimizerSpec("adam", betas=(0.8, 0.95)), 0.05, (0.1, 0.03)),
    "adamw": Case(OptimizerSpec("adamw"), 0.05, (0.3, 0.0)),
    "large eps": Case(OptimizerSpec("adamw", betas=(0.0, 0.9), eps=0.01), 0.05, (0.3, 0.0)),
    "clipped adamw": Case(
        OptimizerSpec("adamw", max_grad_norm=0.4), 0.05, (0.3, 0.0), rate_factors=(1.0, 0.5)
    ),
}


@dataclass(frozen=True, eq=False)
class Training:
    """A finished training: what the library gets, and what the truth needs.

    Attributes:
        case: Optimiser.
        module: Model at the initial parameters.
        objective: Model at the final parameters.
        points, labels: Training rows, then queries.
        record: Record with all states that were kept.
    """

    case: Case
    module: nn.Module
    objective: ModuleObjective
    points: Tensor
    labels: Tensor
    record: TrainingRecord
    names: tuple[str, ...] = field(default=())

    @property
    def examples(self) -> TensorExamples:
        return TensorExamples(self.points[:ROWS], self.labels[:ROWS], batch_size=3)

    @property
    def queries(self) -> TensorExamples:
        return TensorExamples(self.points[ROWS:], self.labels[ROWS:])


def warm_up(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 4) * (1 - step / (steps + 1))


def make_module() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def make_points() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(ROWS + QUERIES, 4, generator=generator, dtype=torch.float64)
    return points, torch.randint(3, (ROWS + QUERIES,), generator=generator)


def draw_batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(ROWS, generator=generator) for _ in range(EPOCHS)]
    return [ids for order in orders for ids in order.split(BATCH)]


def train(
    case: Case,
    segment: int = 3,
    weights: Tensor | None = None,
    batches: list[Tensor] | None = None,
    schedule: Callable[[int, int], float] = warm_up,
) -> Training:
    """Train by torch's optimiser and keep every `segment`-th state."""
    module, (points, labels), batches = make_module(), make_points(), batches or draw_batches()
    initial, names = make_module(), tuple(dict(module.named_parameters()))
    named = dict(module.named_parameters())
    groups = [[named[name] for name in part] for part in (DECAYED, SPARED)]
    optimizer, steps = case.make_optimizer(groups), len(batches)
    weights = torch.ones(ROWS, dtype=torch.float64) if weights is None else weights
    states = {0: _read_state(0, named, optimizer, case)}
    rates = []
    for step, ids in enumerate(batches):
        for group, factor in zip(optimizer.param_groups, case.rate_factors, strict=True):
            group["lr"] = case.rate * factor * schedule(step, steps)
        rates.append([group["lr"] for group in optimizer.param_groups])
        losses = nn.functional.cross_entropy(module(points[ids]), labels[ids], reduction="none")
        optimizer.zero_grad()
        ((weights[ids] * losses).sum() / len(ids)).backward()
        if case.spec.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), case.spec.max_grad_norm)
        optimizer.step()
        if (step + 1) % segment == 0 or step + 1 == steps:
            states[step + 1] = _read_state(step + 1, named, optimizer, case)
    record = TrainingRecord(
        optimizer=case.spec,
        groups=(ParameterGroup(DECAYED, case.decays[0]), ParameterGroup(SPARED, case.decays[1])),
        learning_rates=torch.tensor(rates, dtype=torch.float64),
        batches=batches,
        count=ROWS,
        state_steps=tuple(states),
        load_state=states.__getitem__,
        weights_digest=digest_weights(states[steps].params),
    )
    objective = ModuleObjective(module, CrossEntropy())
    return Training(case, initial, objective, points, labels, record, names)


def _read_state(
    step: int, named: dict[str, Tensor], optimizer: torch.optim.Optimizer, case: Case
) -> TrainingState:
    keys = ("momentum_buffer",) if case.spec.kind == "sgd" else ("exp_avg", "exp_avg_sq")
    moments = []
    for key in keys[: case.spec.num_moments]:
        values = [optimizer.state[p].get(key, torch.zeros_like(p)) for p in named.values()]
        moments.append(torch.cat([value.flatten() for value in values]))
    params = torch.cat([p.detach().flatten().clone() for p in named.values()])
    return TrainingState(step, params, tuple(moments))


GradientFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Gradient of a batch at parameters, with the weights of all rows."""


def losses_at(training: Training, row: Tensor, ids: Tensor) -> Tensor:
    """The losses of rows at the parameters `row`."""
    values, start = {}, 0
    for name, tensor in training.module.named_parameters():
        values[name] = row[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    outputs = functional_call(training.module, values, (training.points[ids],))
    return torch.logsumexp(outputs, 1) - outputs[torch.arange(len(ids)), training.labels[ids]]


def exact_gradient(training: Training) -> GradientFn:
    """The batch's gradient, which autograd differentiates once more."""

    def gradient(row: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        loss = (weights[ids] * losses_at(training, row, ids)).sum() / len(ids)
        return torch.autograd.grad(loss, row, create_graph=True)[0]

    return gradient


def gauss_newton_gradient(training: Training) -> GradientFn:
    """The batch's gradient with a dense Gauss-Newton matrix as its derivative."""

    def outputs(row: Tensor, i: Tensor) -> Tensor:
        values, start = {}, 0
        for name, tensor in training.module.named_parameters():
            values[name] = row[start : start + tensor.numel()].view(tensor.shape)
            start += tensor.numel()
        return functional_call(training.module, values, (training.points[i],))

    def gradient(row: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        fixed = row.detach().requires_grad_()
        losses = losses_at(training, fixed, ids)
        grads = [torch.autograd.grad(loss, fixed, retain_graph=True)[0] for loss in losses]
        matrix = torch.zeros(len(row), len(row), dtype=row.dtype)
        for i in ids:
            jacobian = torch.autograd.functional.jacobian(lambda r, i=i: outputs(r, i), fixed)
            probs = outputs(fixed, i).detach().softmax(0)
            matrix += jacobian.T @ (probs.diag() - probs.outer(probs)) @ jacobian
        mean = (weights[ids][:, None] * torch.stack(grads)).sum(0) / len(ids)
        return mean + matrix @ (row - row.detach()) / len(ids)

    return gradient


def unroll(training: Training, weights: Tensor, gradient: GradientFn, fixed: bool) -> Tensor:
    """The final parameters as a function of the weights, step by step from the formulas."""
    case, record, named = training.case, training.record, dict(training.module.named_parameters())
    row = torch.cat([p.detach().flatten() for p in named.values()]).requires_grad_()
    group = torch.cat([torch.full((p.numel(),), int(name in SPARED)) for name, p in named.items()])
    decay = torch.tensor(case.decays, dtype=torch.float64)[group]
    spec, first, second = case.spec, torch.zeros_like(row), torch.zeros_like(row)
    for t, ids in enumerate(record.batches, start=1):
        rate = record.learning_rates[t - 1][group]
        g = gradient(row, weights, ids)
        if spec.max_grad_norm is not None:
            norm = g.square().sum().sqrt()
            if norm.item() + 1e-6 > spec.max_grad_norm:
                g = g * spec.max_grad_norm / (norm + 1e-6)
        if spec.kind != "adamw":
            g = g + decay * row
        if spec.kind == "sgd":
            kept = 1.0 if t == 1 else 1 - spec.dampening
            first = spec.momentum * first + kept * g
            move = g + spec.momentum * first if spec.nesterov else first
            row = row - rate * (move if spec.momentum else g)
            continue
        first = spec.betas[0] * first + (1 - spec.betas[0]) * g
        second = spec.betas[1] * second + (1 - spec.betas[1]) * (g.detach() if fixed else g) ** 2
        mean, spread = first / (1 - spec.betas[0] ** t), second / (1 - spec.betas[1] ** t)
        shrunk = row * (1 - rate * decay) if spec.kind == "adamw" else row
        row = shrunk - rate * mean / (spread.sqrt() + spec.eps)
    return row


def true_effects(
    training: Training, gradient: GradientFn | None = None, fixed: bool = False
) -> Tensor:
    """Minus the derivatives of the queries' losses by the weights, [q n], through all steps."""
    weights = torch.ones(ROWS, dtype=torch.float64, requires_grad=True)
    row = unroll(training, weights, gradient or exact_gradient(training), fixed)
    losses = losses_at(training, row, torch.arange(ROWS, ROWS + QUERIES))
    grads = [torch.autograd.grad(loss, weights, retain_graph=True)[0] for loss in losses]
    return -torch.stack(grads)
