"""Fidelity of one workload: LDS of all methods, the curve over λ, and rules for λ."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks.fidelity import rules
from benchmarks.fidelity.candidates import Maker, list_candidates
from benchmarks.fidelity.estimators import EstimatorTrials
from benchmarks.fidelity.layered import layered_space
from benchmarks.fidelity.methods import (
    LARGE,
    PUBLISHED,
    Answer,
    choose_workload_damping,
    curvature,
    exact,
    make_slug,
    outcomes,
)
from benchmarks.fidelity.peer_scores import compare_with_peers, measure_peers
from benchmarks.fidelity.space import ExampleSpace, example_space
from benchmarks.fidelity.truth import describe_truth
from benchmarks.fidelity.workload import Workload
from fastif.curvature import DampedOperator
from fastif.evaluation.select_damping import DampingSelection
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers import Factor
from fastif.solvers.gram import apply_factor

DECADES = [10.0 ** (exponent / 2) for exponent in range(-10, 5)]


class FidelityEvaluation:
    """Measures a workload; finished measurements are cached in `folder`."""

    def __init__(
        self, workload: Workload, folder: Path, with_peers: bool, several_models: bool = True
    ) -> None:
        self.workload, self.folder, self.with_peers = workload, folder, with_peers
        self.several_models = several_models

    def result(self) -> dict:
        """Return all measurements for JSON."""
        print(f"== {self.workload.title}", flush=True)
        self.truth = self.workload.truth(self.folder.parent / "truth")
        results = {
            **describe_truth(self.workload, self.truth),
            "parameters": self.objective(0).space.size,
            "auto": {name: self._describe_choice(choice) for name, choice in self.choices.items()},
            "curve": self.curve,
            "rules": self._cached_json("rules", self._rules),
            "methods": self._methods(),
            "chosen": self._measure_chosen(),
        }
        objective, folder = self.objective(0), self.folder
        results["peers"] = measure_peers(
            self.workload, objective, folder, self.with_peers, self._score
        )
        results["margins_of_error"] = compare_with_peers(results, folder, self._each)
        return results

    def objective(self, seed: int) -> fastif.Objective:
        """Return the model of a seed, trained once a process."""
        objectives = self.__dict__.setdefault("_objectives", {})
        if seed not in objectives:
            objectives[seed] = self.workload.train_model(seed)
        return objectives[seed]

    @cached_property
    def few(self) -> bool:
        """Whether the kernel of all factor rows is small enough for the dual solver."""
        return self.matrix.count * self.matrix.rows_per_example <= LARGE

    @cached_property
    def matrix(self) -> fastif.GaussNewton:
        """Curvature of the first model."""
        return curvature(self.objective(0), self.workload.train)

    @cached_property
    def factor(self) -> Factor:
        """Factor of the dual solver for the smallest λ in use."""
        return self._keep_factor("factor", self.objective(0))

    def checkpoint_factor(self, number: int) -> Factor | None:
        """Return the factor of the dual solver at a checkpoint, kept for its trial and its effects.

        None if the Gram matrix is too large.
        """
        return self._keep_factor(f"factor-{number}", self.checkpoints[number]) if self.few else None

    def _keep_factor(self, name: str, objective: fastif.Objective) -> Factor:
        """Return the cached factor of a model for the smallest λ in use, or compute it."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            matrix, start = curvature(objective, self.workload.train), time.process_time()
            save_file(dict(exact(matrix).factor(DampedOperator(matrix, 1e-4))), path)
            path.with_suffix(".json").write_text(json.dumps(time.process_time() - start))
        return load_file(path)

    @cached_property
    def choices(self) -> dict[str, DampingSelection]:
        """Damping selected by `damping = "auto"` for the exact matrix and for EK-FAC."""
        path = self.folder / "choices.json"
        if not path.is_file():
            factor = self.factor if self.few else None
            choices = {
                name: asdict(
                    choose_workload_damping(
                        self.workload, self.matrix, self.outcomes, approximate, factor
                    )
                )
                for name, approximate in (("exact", None), ("EK-FAC", fastif.Spectral()))
            }
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(choices))
        stored = json.loads(path.read_text()).items()
        return {
            name: DampingSelection(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in choice.items()}
            )
            for name, choice in stored
        }

    @cached_property
    def space(self) -> ExampleSpace:
        """Example space, from which exact effects follow for any λ."""
        if not self.few:
            return layered_space(
                self.objective(0), self.workload.train, self.workload.query_examples
            )
        query_examples = self.workload.query_examples
        rows = compute_measure_gradients(self.matrix.gradients, query_examples.with_batch_size(64))
        return example_space(self.matrix, self.factor, rows)

    @cached_property
    def curve(self) -> list[dict]:
        """Return the LDS of the exact solve by λ."""
        dampings = sorted({*DECADES, PUBLISHED})
        return self._cached_json(
            "curve",
            lambda: [{"damping": d, **self._score(self.space.effect(d))} for d in dampings],
        )

    def _cached_json(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a cached measurement, or compute and cache it."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            value = make()
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        return json.loads(path.read_text())

    def _score(self, effect: Float[Tensor, "q n"]) -> dict:
        score = self._each(effect)
        return {"lds": float(score.mean()), "error": float(score.std() / len(score) ** 0.5)}

    def _each(self, effect: Tensor) -> Float[Tensor, " q"]:
        return self.truth.score(effect)

    def _describe_choice(self, choice: DampingSelection) -> dict:
        return {**asdict(choice), "best_of_curve": max(point["lds"] for point in self.curve)}

    def _rules(self) -> dict:
        """Return λ by rules without retraining, and the LDS of the exact solve there."""
        grid = [10.0 ** (exponent / 4) for exponent in range(-20, 8)]
        start, end = self.workload.start(0), self.objective(0)
        training_path = end.space.flatten(end.params) - start.space.flatten(start.params)
        projected_path = self._project_training_path(training_path)
        held_out = float(fastif.predict(end, self.workload.tuning_examples)[1].mean())
        curves = {
            "evidence": rules.by_evidence(self.space, projected_path, grid),
            "cross-validation": rules.by_cross_validation(self.space, projected_path, grid),
        }
        sparse = grid[::2]
        curves["leave-one-out loss"] = rules.by_leave_one_out(self.space, sparse, held_out)
        results = {}
        for name, curve in curves.items():
            dampings = sparse if len(curve) == len(sparse) else grid
            damping = dampings[max(range(len(curve)), key=curve.__getitem__)]
            results[name] = {"damping": damping, **self._score(self.space.effect(damping))}
        trace = float(self.space.values.sum()) / self.workload.rows / self.matrix.size
        results["mean eigenvalue"] = {"damping": trace, **self._score(self.space.effect(trace))}
        return results

    def _project_training_path(self, training_path: Tensor) -> Tensor:
        """Return R (θ - θ₀), the training displacement in the factor rows of the space."""
        projected = apply_factor(self.matrix, training_path[None])[0]
        if self.few:
            return projected
        size, columns = self.matrix.batch_size, self.matrix.rows_per_example
        assert self.matrix.ids is not None
        parts = zip(projected.split(size * columns), self.matrix.ids.split(size), strict=True)
        ordered = torch.empty(self.workload.rows, columns, dtype=projected.dtype)
        for part, ids in parts:
            ordered[ids] = part.view(columns, -1).T
        return ordered.flatten()

    def _methods(self) -> dict:
        makers = list_candidates(self)
        return {name: self._cached_record(name, make) for name, make in makers.items()}

    @cached_property
    def trials(self) -> EstimatorTrials:
        """Trials of the estimators that the product chooses from."""
        return EstimatorTrials(self)

    def _measure_chosen(self) -> dict:
        """Return the estimator that the product chooses, with its LDS."""
        path = self.folder / "chosen-words.json"

        def make() -> Answer:
            chosen = self.trials.choose()
            path.write_text(json.dumps({"name": chosen.name, "reason": chosen.reason}))
            return chosen.answer

        record = self._cached_record("chosen", make)
        return {**record, **json.loads(path.read_text())}

    @cached_property
    def checkpoints(self) -> list[fastif.Objective]:
        """Checkpoints of the training of the first model, without its end."""
        return self.workload.checkpoints()

    @cached_property
    def outcomes(self) -> Tensor:
        """Results of the few retrainings for the selection of λ, equal for all checkpoints."""
        path = self.folder / "outcomes.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"margins": outcomes(self.workload)}, path)
        return load_file(path)["margins"]

    def _cached_record(self, name: str, make: Maker) -> dict:
        """Return the cached result of a method, or measure it."""
        path = self.folder / f"{make_slug(name)}.safetensors"
        record_path = path.with_suffix(".json")
        if not record_path.is_file():
            new_answer = make()
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"effect": new_answer.effect.float().contiguous()}, path)
            record_path.write_text(
                json.dumps(asdict(replace(new_answer, effect=torch.empty(0))), default=list)
            )
        record = json.loads(record_path.read_text())
        del record["effect"]
        record |= self._score(load_file(path)["effect"]) | {"scores": path.name}
        print(f"{name}: LDS {record['lds']:.3f} +- {record['error']:.3f}", flush=True)
        return record
