"""One workload judged: every method's score, the curve over λ, and the rules that choose it."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks.fidelity import rules
from benchmarks.fidelity.baselines import BASELINES, bm25
from benchmarks.fidelity.layered import layered_space
from benchmarks.fidelity.methods import (
    PUBLISHED,
    Answer,
    answer,
    chosen,
    curvature,
    exact,
    mean_of,
    outcomes,
)
from benchmarks.fidelity.peers.registry import PEERS
from benchmarks.fidelity.peers.run import run_peer
from benchmarks.fidelity.plain import Mlp, Tail, plain_of, save_plain
from benchmarks.fidelity.space import ExampleSpace, example_space
from benchmarks.fidelity.texts import Texts
from benchmarks.fidelity.workload import PARTS, Workload
from fastif.evaluation.select_damping import DampingChoice
from fastif.numerics.correlation import linear_datamodelling_score

DECADES = [10.0 ** (exponent / 2) for exponent in range(-10, 5)]


class Judge:
    """Measures a workload; what has been measured lies in `folder`."""

    def __init__(self, workload: Workload, folder: Path, with_peers: bool) -> None:
        self.workload, self.folder, self.with_peers = workload, folder, with_peers
        self.few = isinstance(workload, Texts)

    def result(self) -> dict:
        """Everything, ready for JSON."""
        print(f"== {self.workload.title}", flush=True)
        self.truth = self.workload.truth(self.folder.parent / "truth")
        found = {
            "title": self.workload.title,
            "rows": self.workload.rows,
            "queries": self.workload.queries,
            "subsets": self.workload.subsets,
            "seeds": self.workload.seeds,
            "parameters": self.objective(0).space.size,
            "auto": {name: self._choice_told(choice) for name, choice in self.choices.items()},
            "curve": self.curve,
            "rules": self._told("rules", self._rules),
            "methods": self._methods(),
        }
        found["peers"] = self._peers()
        found["margins_of_error"] = self._paired(found)
        return found

    def objective(self, seed: int) -> fastif.Objective:
        """The model of this seed, trained once a process."""
        kept = self.__dict__.setdefault("_objectives", {})
        if seed not in kept:
            kept[seed] = self.workload.trained(seed)
        return kept[seed]

    @cached_property
    def matrix(self) -> fastif.GaussNewton:
        """The curvature of the first model."""
        return curvature(self.objective(0), self.workload.train)

    @cached_property
    def factor(self) -> fastif.Factor:
        """The dual solver's, made for the smallest λ that is asked of it."""
        path = self.folder / "factor.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            start = time.process_time()
            save_file(dict(exact(self.matrix).factor(fastif.Damped(self.matrix, 1e-4))), path)
            path.with_suffix(".json").write_text(json.dumps(time.process_time() - start))
        return load_file(path)

    @cached_property
    def choices(self) -> dict[str, DampingChoice]:
        """Damping = "auto" for the exact matrix and for EK-FAC."""
        path = self.folder / "choices.json"
        if not path.is_file():
            made = {
                name: asdict(chosen(self.workload, self.matrix, self.outcomes, approximate))
                for name, approximate in (("exact", None), ("EK-FAC", fastif.Spectral()))
            }
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(made))
        known = json.loads(path.read_text()).items()
        return {name: DampingChoice(**choice) for name, choice in known}

    @cached_property
    def space(self) -> ExampleSpace:
        """The exact answer for any λ."""
        if not self.few:
            return layered_space(self.objective(0), self.workload.train, self.workload.asked)
        asked = self.workload.asked
        rows = fastif.measure_rows(self.matrix.gradients, asked, fastif.every(asked), 64)
        return example_space(self.matrix, self.factor, rows)

    @cached_property
    def curve(self) -> list[dict]:
        """Agreement with retraining over λ, of the exact solve."""
        dampings = sorted({*DECADES, PUBLISHED})
        return self._told(
            "curve",
            lambda: [{"damping": d, **self._scored(self.space.effect(d))} for d in dampings],
        )

    def _told(self, name: str, make: Callable[[], Any]) -> Any:
        """What was found out before, or is now."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            made = make()
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(made))
        return json.loads(path.read_text())

    def _scored(self, effect: Float[Tensor, "q n"]) -> dict:
        score = self._each(effect)
        return {"lds": float(score.mean()), "error": float(score.std() / len(score) ** 0.5)}

    def _each(self, effect: Tensor) -> Float[Tensor, " q"]:
        return linear_datamodelling_score(effect.float(), self.workload.halves, self.truth)

    def _choice_told(self, choice: DampingChoice) -> dict:
        return {**asdict(choice), "best_of_curve": max(point["lds"] for point in self.curve)}

    def _rules(self) -> dict:
        """λ by rules without retraining, and what the exact solve scores there."""
        grid = [10.0 ** (exponent / 4) for exponent in range(-20, 8)]
        start, end = self.workload.start(0), self.objective(0)
        moved_row = end.space.flatten(end.params) - start.space.flatten(start.params)
        moved = self._moved(moved_row)
        held_out = float(fastif.predict(end, self.workload.tuned)[1].mean())
        curves = {
            "evidence": rules.by_evidence(self.space, moved, grid),
            "cross-validation": rules.by_cross_validation(self.space, moved, grid),
        }
        sparse = grid[::2]
        curves["leave-one-out loss"] = rules.by_leave_one_out(self.space, sparse, held_out)
        found = {}
        for name, curve in curves.items():
            tried = sparse if len(curve) == len(sparse) else grid
            damping = tried[max(range(len(curve)), key=curve.__getitem__)]
            found[name] = {"damping": damping, **self._scored(self.space.effect(damping))}
        trace = float(self.space.values.sum()) / self.workload.rows / self.matrix.size
        found["mean eigenvalue"] = {"damping": trace, **self._scored(self.space.effect(trace))}
        return found

    def _moved(self, row: Tensor) -> Tensor:
        """R times the way that training went, in the order of the space's root rows."""
        found = fastif.solvers.gram.project(self.matrix, row[None])[0]
        if self.few:
            return found
        size, columns = self.matrix.batch_size, self.matrix.columns
        assert self.matrix.ids is not None
        parts = zip(found.split(size * columns), self.matrix.ids.split(size), strict=True)
        placed = torch.empty(self.workload.rows, columns, dtype=found.dtype)
        for part, ids in parts:
            placed[ids] = part.view(columns, -1).T
        return placed.flatten()

    def _methods(self) -> dict:
        auto, approximate = (self.choices[name].effective for name in ("exact", "EK-FAC"))
        train, asked, first = self.workload.train, self.workload.asked, self.objective(0)
        solver, found = exact(self.matrix), {}

        def keep(name: str, make: Callable[[], Answer]) -> None:
            found[name] = self._kept(name, make)

        keep("exact", lambda: self._by_factor(auto) if self.few else self._solved(0, solver, auto))
        keep("EK-FAC", lambda: self._solved(0, fastif.Spectral(), approximate))
        if not self.workload.only_damping:
            several = self._mean if self.few else self._mean_in_space
            keep("EK-FAC, mean of 5 models", lambda: self._mean(fastif.Spectral(), approximate, 5))
            keep("exact, mean of 5 models", lambda: several(solver, auto, 5))
            for number in range(len(PARTS)):
                keep(_checkpoint_name(number), partial(self._checkpoint, number))
            keep("exact, mean of 4 checkpoints", self._through_training)
        keep("exact, the paper's damping", lambda: self._in_space(PUBLISHED))
        for name, baseline in BASELINES.items():
            keep(name, lambda baseline=baseline: _plain(baseline(first, train, asked)))
        if isinstance(self.workload, Texts):
            words = [self.workload.words(part) for part in (0, 1)]
            keep("BM25", lambda: _plain(bm25(*words)))
        return found

    def _by_factor(self, damping: float) -> Answer:
        found = self._solved(0, exact(self.matrix), damping, self.factor)
        took = json.loads((self.folder / "factor.json").read_text())
        return replace(found, seconds={**found.seconds, "factor": took})

    def _solved(
        self, seed: int, solver: fastif.Solver, damping: float, factor: fastif.Factor | None = None
    ) -> Answer:
        objective = self.objective(seed)
        matrix = self.matrix if seed == 0 else curvature(objective, self.workload.train)
        return answer(self.workload, matrix, objective, solver, damping, factor)

    def _in_space(self, damping: float) -> Answer:
        return replace(_plain(self.space.effect(damping)), damping=damping)

    def _mean(self, solver: fastif.Solver, damping: float, members: int) -> Answer:
        return mean_of([self._solved(seed, solver, damping) for seed in range(members)])

    @cached_property
    def checkpoints(self) -> list[fastif.Objective]:
        """Of the training of the first model, without its end."""
        return self.workload.checkpoints()

    @cached_property
    def outcomes(self) -> Tensor:
        """What the few retrainings for the choice of λ show; the same for every checkpoint."""
        return outcomes(self.workload)

    def _checkpoint(self, number: int) -> Answer:
        """A checkpoint at the λ that the few retrainings choose for it."""
        objective = self.checkpoints[number]
        matrix = curvature(objective, self.workload.train)
        damping = chosen(self.workload, matrix, self.outcomes, None).effective
        return answer(self.workload, matrix, objective, exact(matrix), damping)

    def _through_training(self) -> Answer:
        names = ["exact", *(_checkpoint_name(number) for number in range(len(PARTS)))]
        effects = [self._kept_effect(name) for name in names]
        return Answer(torch.stack(effects).mean(0), {}, self.choices["exact"].effective)

    def _kept_effect(self, name: str) -> Tensor:
        return load_file(self.folder / f"{_slug(name)}.safetensors")["effect"]

    def _mean_in_space(self, _: fastif.Solver, damping: float, members: int) -> Answer:
        train, asked = self.workload.train, self.workload.asked
        spaces = (layered_space(self.objective(seed), train, asked) for seed in range(members))
        effects = [space.effect(damping) for space in spaces]
        return Answer(torch.stack(effects).mean(0), {}, damping)

    def _kept(self, name: str, make: Callable[[], Answer]) -> dict:
        """Measure a method, or read what was measured."""
        path = self.folder / f"{_slug(name)}.safetensors"
        about = path.with_suffix(".json")
        if not about.is_file():
            made = make()
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"effect": made.effect.float().contiguous()}, path)
            about.write_text(json.dumps(asdict(replace(made, effect=torch.empty(0))), default=list))
        told = json.loads(about.read_text())
        del told["effect"]
        told |= self._scored(load_file(path)["effect"]) | {"scores": path.name}
        print(f"{name}: LDS {told['lds']:.3f} +- {told['error']:.3f}", flush=True)
        return told

    def _peers(self) -> dict:
        """Every peer in a process of its own."""
        objective = self.objective(0)
        saved = self.folder / "plain"
        model = (Mlp if isinstance(objective, fastif.ModuleObjective) else Tail).of(objective)
        if not (saved / "plain.json").is_file():
            save_plain(plain_of(model, self.workload.train, self.workload.asked), saved)
        found = {}
        for name in () if self.workload.only_damping else PEERS:
            path = self.folder / f"peer-{_slug(name)}.json"
            if not path.is_file() and not self.with_peers:
                continue  # what was measured before is shown all the same
            if not path.is_file():
                outcome = run_peer(name, saved, self.folder / "peers", limit_seconds=420)
                path.write_text(json.dumps(asdict(outcome), default=str))
            found[name] = json.loads(path.read_text())
            if found[name]["path"]:
                scores = Path(found[name].pop("path"))
                found[name] |= self._scored(load_file(scores)["scores"]) | {"scores": scores.name}
            print(f"{name}: {found[name].get('lds') or found[name]['failure']}", flush=True)
        return found

    def _paired(self, found: dict) -> dict:
        """Exact minus the best other, query by query, with its 95 % interval."""
        mine = self._each(load_file(self.folder / found["methods"]["exact"]["scores"])["effect"])
        told = {}
        for name, peer in found.get("peers", {}).items():
            if "lds" not in peer:
                continue
            other = self._each(load_file(self.folder / "peers" / peer["scores"])["scores"])
            more = mine - other
            half_width = 1.96 * float(more.std() / len(more) ** 0.5)
            told[name] = {"more": float(more.mean()), "half_width": half_width}
        return told


def _checkpoint_name(number: int) -> str:
    return f"exact, at {PARTS[number]:g} of the training"


def _slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9.]+", name.lower()))


def _plain(effect: Tensor) -> Answer:
    return Answer(effect, {}, float("inf"))
