"""Small trainings that are recorded on disk, and torch's repetition of a record."""

from pathlib import Path

import torch
from torch import nn

from fastif import CrossEntropy, ModuleObjective, TensorExamples
from fastif.unrolled.recorder import TrainingRecorder
from fastif.unrolled.row_digests import compute_row_digests
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.training_record import TrainingRecord
from tests.fastif.unrolled import small_trainings as small
from tests.fastif.unrolled.small_trainings import Case


def examples() -> TensorExamples:
    points, labels = small.make_points()
    return TensorExamples(points[: small.ROWS], labels[: small.ROWS], batch_size=3)


def make_groups(module: nn.Module) -> list[list[torch.Tensor]]:
    named = dict(module.named_parameters())
    return [[named[name] for name in part] for part in (small.DECAYED, small.SPARED)]


def train_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, case: Case, ids: torch.Tensor
) -> None:
    points, labels = small.make_points()
    optimizer.zero_grad()
    nn.functional.cross_entropy(module(points[ids]), labels[ids]).backward()
    if case.spec.max_grad_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), case.spec.max_grad_norm)
    optimizer.step()


def make_recorder(folder: Path, case: Case, **options: float) -> TrainingRecorder:
    names = zip((small.DECAYED, small.SPARED), case.decays, strict=True)
    groups = [small.ParameterGroup(part, decay) for part, decay in names]
    digests = compute_row_digests(examples())
    return TrainingRecorder(
        folder, case.spec, groups, digests, len(small.draw_batches()), **options
    )


def train(folder: Path, case: Case, saves: tuple[int, ...] = (), **options: float) -> nn.Module:
    """A training by torch's optimiser in double precision, recorded in `folder`."""
    module, batches = small.make_module(), small.draw_batches()
    params = dict(module.named_parameters())
    optimizer = case.make_optimizer(make_groups(module))
    recorder = make_recorder(folder, case, **options)
    recorder.start(params)
    for step, ids in enumerate(batches):
        for group, factor in zip(optimizer.param_groups, case.rate_factors, strict=True):
            group["lr"] = case.rate * factor * small.warm_up(step, len(batches))
        train_step(module, optimizer, case, ids)
        recorder.add_step(ids, [g["lr"] for g in optimizer.param_groups], params, optimizer)
        if step + 1 in saves:
            recorder.save_progress(params)
    recorder.finish(params)
    return module


def open_trained(folder: Path, module: nn.Module) -> TrainingRecord:
    return open_record(folder, ModuleObjective(module, CrossEntropy()), examples())


def repeat(record: TrainingRecord, case: Case) -> nn.Module:
    """The training repeated by torch's optimiser, from the record's own batches and rates."""
    module = small.make_module()
    with torch.no_grad():
        vector = record.load_state(0).params
        for tensor in module.parameters():
            tensor.copy_(vector[: tensor.numel()].view_as(tensor))
            vector = vector[tensor.numel() :]
    optimizer = case.make_optimizer(make_groups(module))
    for ids, rates in zip(record.batches, record.learning_rates, strict=True):
        for group, rate in zip(optimizer.param_groups, rates.tolist(), strict=True):
            group["lr"] = rate
        train_step(module, optimizer, case, ids)
    return module
