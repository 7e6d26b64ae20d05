"""Estimators that the product tries on a workload, and the one that it chooses.

The choice uses six retrainings on other halves and other queries than those of the truth. Effects
of each model are computed once; means and powers of the row's norm follow from them.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.fidelity.chosen import Chosen
from benchmarks.fidelity.methods import BATCH, Answer, curvature, make_slug
from benchmarks.fidelity.workload import PARTS
from fastif.evaluation.estimator import COSINE, INFLUENCE, Estimator, row_scale
from fastif.evaluation.model_trial import try_model
from fastif.evaluation.row_effects import RowEffects, mean_row_effects, measure_norms
from fastif.evaluation.select_damping import HALVES, sample_halves
from fastif.evaluation.select_estimator import (
    EstimatorSelection,
    list_estimators,
    predict_outcomes,
    select_estimator,
)
from tasks.results.estimator import describe_estimator, name_estimator

if TYPE_CHECKING:
    from benchmarks.fidelity.judge import FidelityEvaluation

NAMES = ("the final weights", *(f"checkpoint-{part:g}" for part in PARTS))
"""Names of the models: the final weights first, then the checkpoints."""

FILES = ("exact", *(f"exact, at {part:g} of the training" for part in PARTS))
"""Candidates with the effects of these models."""


class EstimatorTrials:
    """Trials of the estimators on a workload, kept in the folder of its evaluation."""

    def __init__(self, evaluation: FidelityEvaluation) -> None:
        self.evaluation = evaluation
        self.halves = sample_halves(evaluation.workload.rows, HALVES, seed=7)

    @cached_property
    def models(self) -> list[tuple[float, RowEffects]]:
        """Damping of each model, and its effects on the control queries."""
        return [self._try(place) for place in range(len(NAMES))]

    @cached_property
    def estimators(self) -> list[Estimator]:
        """Estimators of the product, the simplest first."""
        return list_estimators([damping for damping, _ in self.models], len(PARTS))

    @cached_property
    def selection(self) -> EstimatorSelection:
        """Choice of the product."""
        effects = [row_effects for _, row_effects in self.models]
        predictions = [predict_outcomes(e, effects, self.halves) for e in self.estimators]
        return select_estimator(self.estimators, predictions, self.evaluation.outcomes.double())

    def list_others(self) -> dict[str, Estimator]:
        """Return the estimators that are not yet among the candidates, by name."""
        return {
            name_estimator(estimator, NAMES): estimator
            for estimator in self.estimators
            if estimator.kind == INFLUENCE and (len(estimator.models) > 1 or estimator.power)
        }

    def answer(self, estimator: Estimator) -> Answer:
        """Return the ranking scores of an estimator on the queries of the truth."""
        if estimator.kind == COSINE:
            name = FILES[estimator.models[0]].replace("exact", "gradient cosine", 1)
            return Answer(self._read(name), {}, float("inf"))
        effects = [self._read(FILES[place]) for place in estimator.models]
        norms = measure_norms(mean_row_effects([e for _, e in self.models], estimator.models))
        scores = torch.stack(effects).mean(0) * row_scale(norms, estimator.power)
        dampings = [self.models[place][0] for place in estimator.models]
        return Answer(scores, {}, dampings[0] if len(dampings) == 1 else float("inf"))

    def choose(self) -> Chosen:
        """Return the estimator that the product chooses."""
        selection = self.selection
        return Chosen(
            name_estimator(selection.estimator, NAMES),
            f"The summary of an audit says: {describe_estimator(selection, NAMES)}.",
            self.answer(selection.estimator),
        )

    def _try(self, place: int) -> tuple[float, RowEffects]:
        path = self.evaluation.folder / f"trial-{place}.safetensors"
        if not path.is_file():
            evaluation, workload = self.evaluation, self.evaluation.workload
            matrix, factor = evaluation.matrix, evaluation.factor if evaluation.few else None
            if place:
                matrix = curvature(evaluation.checkpoints[place - 1], workload.train)
                factor = evaluation.checkpoint_factor(place - 1)
            queries = workload.tuning_examples.with_batch_size(BATCH)
            trial = try_model(matrix, queries, self.halves, evaluation.outcomes, factor=factor)
            assert trial.effects is not None
            tensors = {name: getattr(trial.effects, name) for name in ("effects", "cosines")}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
            path.with_suffix(".json").write_text(json.dumps(trial.damping.damping))
        tensors = load_file(path)
        damping = json.loads(path.with_suffix(".json").read_text())
        return damping, RowEffects(tensors["effects"], tensors["cosines"])

    def _read(self, name: str) -> Float[Tensor, "q n"]:
        return load_file(self.evaluation.folder / f"{make_slug(name)}.safetensors")["effect"]
