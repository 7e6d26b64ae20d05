"""Forecast of cross-fitting a classifier: time of a step, and memory of the trainings."""

import time
from dataclasses import dataclass, replace

import torch

import fastif
from tasks.data.dataset import Table
from tasks.mislabels.cross_fitted_classifier import tokenize_rows
from tasks.mislabels.cross_fitting_plan import plan_cross_fitting
from tasks.models.finetune import make_training_config
from tasks.models.locate import find_base_folder
from tasks.models.training_memory import estimate_fold_bytes
from tasks.models.untrained_model import make_objective
from tasks.runtime.devices import resolve_devices
from tasks.study.study import Study


@dataclass(frozen=True)
class CrossFittingForecast:
    """Forecast of cross-fitting.

    Attributes:
        seconds: Time, seconds; 0 without cross-fitting.
        nbytes: Memory that it adds to the process, bytes.
    """

    seconds: float = 0.0
    nbytes: int = 0


def forecast_cross_fitting(study: Study, table: Table) -> CrossFittingForecast:
    """Forecast cross-fitting from one step of the training, which is the second of two.

    The step is timed on rows of the whole table. Memory is that of the batch with the longest
    texts. Folds that are trained already count too.

    Args:
        study: The study.
        table: Training rows.
    """
    planned = plan_cross_fitting(study)
    if planned is None or planned.training is None or study.mislabels.judge is not None:
        return CrossFittingForecast()
    training, folds = planned.training, planned.mislabels.folds or 0
    base, device = find_base_folder(planned), resolve_devices(study.run.devices)[0].torch
    objective = make_objective(planned, base, table, training.seed, device)
    size = min(len(table), training.batch_size)
    spread = range(0, len(table), max(1, len(table) // size))[:size]
    longest = sorted(range(len(table)), key=lambda i: -_count_characters(table, i))[:size]
    samples = (table.take(rows) for rows in (spread, longest))
    usual, long = (
        tokenize_rows(planned, objective.full_model, base, sample, device) for sample in samples
    )
    config = replace(make_training_config(planned, training.seed), epochs=2)
    times = [time.perf_counter()]
    fastif.fit(objective, usual, config, lambda *_: times.append(time.perf_counter()))
    steps = folds * make_training_config(planned, training.seed).count_steps(
        len(table) - len(table) // folds
    )
    tokens = float(usual.lengths.float().mean())
    batch = long.take(torch.arange(len(long)))
    nbytes = estimate_fold_bytes(objective, batch, planned, len(table), tokens)
    return CrossFittingForecast(steps * (times[-1] - times[-2]), nbytes)


def _count_characters(table: Table, row: int) -> int:
    return len(table.texts[row]) + (len(table.text_pairs[row]) if table.text_pairs else 0)
