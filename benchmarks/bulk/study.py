"""Trained model with its damping and curvature, cached in a folder."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks.bulk.corpora import Corpus
from benchmarks.fidelity.methods import choose_workload_damping, outcomes
from fastif.curvature import DampedOperator
from fastif.evaluation.select_damping import DampingSelection

BATCH = 64


@dataclass(frozen=True, eq=False)
class Study:
    """Model, rows, queries and curvature that all candidate methods share."""

    corpus: Corpus
    folder: Path

    @cached_property
    def objective(self) -> fastif.TransformerObjective:
        """Model trained on all rows."""
        start = self.corpus.start(0)
        tensors = self.cached_tensors("model", lambda: dict(self.corpus.train_model(0).params))
        # A file has its tensors by name; gradients have the order of the model.
        params = {name: tensors[name] for name in start.params}
        start.full_model.load_state_dict(params, strict=False)
        start.params = params
        return start

    @cached_property
    def matrix(self) -> fastif.GaussNewton:
        """Curvature of all training rows."""
        return fastif.GaussNewton(self.objective, self.corpus.train.with_batch_size(BATCH))

    @cached_property
    def choice(self) -> DampingSelection:
        """Damping λ with the best agreement with retraining on a few random halves."""
        path = self.folder / "damping.json"
        if not path.is_file():
            retrained = self.cached_tensors("halves", lambda: {"margins": outcomes(self.corpus)})
            choice = choose_workload_damping(self.corpus, self.matrix, retrained["margins"], None)
            path.write_text(json.dumps(asdict(choice)))
        return DampingSelection(**json.loads(path.read_text()))

    @property
    def operator(self) -> DampedOperator:
        """Damped curvature."""
        return DampedOperator(self.matrix, self.choice.effective_damping)

    def cached_tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return cached tensors, or compute and cache them."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            tensors = {key: tensor.contiguous() for key, tensor in make().items()}
            save_file(tensors, path)
        return load_file(path)
