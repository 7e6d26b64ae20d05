"""Effects through the training against retraining with the same seed and order (SST-2).

A twentieth or half of the rows is left out: they have weight 0 in the batches of the
recorded training, and all else stays as it was. So the noise of another seed and order, which
limits the LDS, is absent. Finished retrainings and sweeps are kept and reused.
"""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks.fidelity.methods import curvature, exact, make_slug, scores
from benchmarks.fidelity.texts import RECIPE
from benchmarks.fidelity.workload import Subset, Workload, margins
from fastif.curvature import DampedOperator
from fastif.gradients.per_example import compute_measure_gradients
from fastif.models.parameters import Params
from fastif.numerics.correlation import spearman
from fastif.unrolled.record_training import record_training
from fastif.unrolled.retraining_agreement import draw_subsets
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from fastif.unrolled.training_record import TrainingRecord

SHARES, RETRAININGS = (0.05, 0.5), 20
"""Shares of the rows that are left out, and number of retrainings for each."""

SEED = 7
"""Random seed of the rows that are left out."""

QUERIES = 30
"""Number of queries, which go through the training in one sweep."""

HESSIAN_QUERIES = 10
"""Number of queries with the Hessian, which takes a backward pass for each query and step."""

GOAL = 0.93

DAMPING = 0.43
"""λ of the exact solve at the end, as `damping = "auto"` selects it on the workload."""

SWEEPS = {
    "through the training": UnrolledSettings(),
    "through the training, second moments held fixed": UnrolledSettings(second_moments="fixed"),
    "through the training, Hessian": UnrolledSettings(curvature="hessian"),
}
END = "exact, at the end"


@dataclass(frozen=True, eq=False)
class ThroughTraining:
    """Experiment on a workload, trained by `RECIPE`.

    Args:
        workload: Workload with its rows, queries and model.
        folder: Cache of finished parts.
        retrainings: Number of retrainings for each share.
    """

    workload: Workload
    folder: Path
    retrainings: int = RETRAININGS

    def result(self) -> dict:
        """Return agreements and costs for JSON."""
        shares = {f"{share:g}": self.measure_share(share) for share in SHARES}
        return {
            "title": self.workload.title,
            "rows": self.workload.rows,
            "queries": QUERIES,
            "first": HESSIAN_QUERIES,
            "steps": self.trained[1].num_steps,
            "damping": DAMPING,
            "goal": GOAL,
            "training_seconds": self.training_seconds,
            "seconds": {name: self.effects(name)[1] for name in (*SWEEPS, END)},
            "shares": shares,
        }

    def measure_share(self, share: float) -> dict:
        """Return Spearman's correlation of each method over the retrainings without a share."""
        subsets = draw_subsets(self.workload.rows, share, self.retrainings, seed=SEED)
        changes = torch.stack([self.retrained(share, number) for number in range(len(subsets))])
        agreements = {}
        for name in (*SWEEPS, END):
            effect = self.effects(name)[0].double()
            removed = torch.stack([effect[:, ids].sum(1) for ids in subsets])
            by_query = spearman(removed.T, -changes[:, : len(effect)].T)
            error = float(by_query.std() / len(by_query) ** 0.5)
            agreements[name] = {
                "spearman": float(by_query.mean()),
                "error": error,
                "queries": len(effect),
                "first": float(by_query[:HESSIAN_QUERIES].mean()),
            }
            print(f"{share:g} left out, {name}: {agreements[name]['spearman']:.3f}", flush=True)
        return {"retrainings": len(subsets), "methods": agreements}

    @cached_property
    def queries(self) -> fastif.Examples:
        """First queries of the workload."""
        return self.workload.query_examples.subset(torch.arange(QUERIES))

    @cached_property
    def trained(self) -> tuple[fastif.Objective, TrainingRecord]:
        """Model after the recorded training, and its record."""
        objective, train = self.workload.start(0), self.workload.train  # frozen layers computed
        config = fastif.TrainingConfig(**{**RECIPE.__dict__, "seed": 0})
        start = time.process_time()
        params, record = record_training(objective, train, config)
        self._keep_json("training", time.process_time() - start)
        return self.workload.at(objective, params), record

    @property
    def training_seconds(self) -> float:
        """CPU seconds of the recorded training, as first measured."""
        return json.loads((self.folder / "training.json").read_text())

    def retrained(self, share: float, number: int) -> Float[Tensor, " q"]:
        """Return the margins of the queries after the training without a random share."""
        path = self.folder / f"retrained-{share:g}-{number}.safetensors"
        if not path.is_file():
            ids = draw_subsets(self.workload.rows, share, self.retrainings, seed=SEED)[number]
            params = retrain_in_order(
                self.trained[1], self.workload.start(0), self.workload.train, ids
            )
            model = self.workload.at(self.workload.start(0), params)
            outputs = fastif.predict(model, self.queries)[0]
            self._keep(path, margins(outputs, self.workload.answers(self.queries)))
            print(f"{share:g} left out, retraining {number}", flush=True)
        return load_file(path)["values"][:QUERIES].double()

    def effects(self, name: str) -> tuple[Float[Tensor, "q n"], float]:
        """Return the removal effects of a method, and its CPU seconds."""
        path = self.folder / f"{make_slug(name)}.safetensors"
        if not path.is_file():
            _ = self.trained  # not part of the time
            start = time.process_time()
            effect = self._solve() if name == END else self._sweep(SWEEPS[name])
            self._keep_json(make_slug(name), time.process_time() - start)
            self._keep(path, effect)
        return load_file(path)["values"], json.loads(path.with_suffix(".json").read_text())

    def _sweep(self, settings: UnrolledSettings) -> Float[Tensor, "q n"]:
        objective, record = self.trained
        train, rows = self.workload.train.with_batch_size(64), self._query_gradients
        rows = rows[:HESSIAN_QUERIES] if settings.curvature == "hessian" else rows
        return unrolled_removal_effects(record, objective, train, rows, settings)

    def _solve(self) -> Float[Tensor, "q n"]:
        objective, train = self.trained[0], self.workload.train
        matrix = curvature(objective, train)
        operator, solver = DampedOperator(matrix, DAMPING), exact(matrix)
        solution = solver.solve(operator, self._query_gradients, solver.factor(operator))
        return scores(fastif.Gradients(objective), train, solution.value)

    @cached_property
    def _query_gradients(self) -> Float[Tensor, "q p"]:
        queries = self.queries.with_batch_size(64)
        return compute_measure_gradients(fastif.Gradients(self.trained[0]), queries)

    def _keep(self, path: Path, values: Tensor) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({"values": values.float().contiguous()}, part)
        part.replace(path)

    def _keep_json(self, name: str, value: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        if not path.is_file():
            path.write_text(json.dumps(value))


def retrain_in_order(
    record: TrainingRecord, objective: fastif.Objective, train: fastif.Examples, without: Subset
) -> Params:
    """Repeat a training of AdamW by torch.optim with weight 0 of some rows, without fastif's own.

    Args:
        record: Record, of which only the batches, learning rates and decay are used.
        objective: Model before the training.
        train: Training rows.
        without: Positions of the rows that are left out; the divisor of a batch stays its size.
    """
    weights = torch.ones(record.count)
    weights[without] = 0
    params = {name: tensor.clone().requires_grad_() for name, tensor in objective.params.items()}
    decay = record.groups[0].weight_decay
    optimiser = torch.optim.AdamW(params.values(), lr=0.0, weight_decay=decay)
    for ids, (rate,) in zip(record.batches, record.learning_rates.tolist(), strict=True):
        batch = train.take(ids)
        losses = objective.loss(objective.outputs(params, batch), batch["labels"])
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        ((losses * weights[ids]).sum() / len(ids)).backward()
        optimiser.step()
    return {name: tensor.detach() for name, tensor in params.items()}
