"""Softmax regression on frozen MiniLM embeddings, trained to convergence: a convex subject."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks.fidelity.texts import MAX_LENGTH, MultiNli, Sst2, Texts, base_folder
from benchmarks.flips.subject import RowEdit, Subject
from fastif.mislabels.text_embeddings import make_pair_features, mean_pool
from fastif.models.pretrained import load_encoder
from fastif.training.retrain import retrain_exact

PENALTY = 1e-3
COMPONENTS = 256
"""Principal components of the features of pairs; embeddings of single texts have 384 numbers."""

WORKLOADS = {"sst2": Sst2, "multinli": MultiNli}


@dataclass(frozen=True, eq=False)
class Head(Subject):
    """Linear head on frozen embeddings of one text, or of both texts of a pair.

    Attributes:
        name: Name of the data set.
        data: Folder of the data sets.
        rows: Number of training rows.
        count: Number of queries.
        work: Folder of the cached embeddings.
    """

    name: str
    data: Path
    rows: int
    count: int
    work: Path

    @property
    def title(self) -> str:
        return f"{'SST-2' if self.name == 'sst2' else 'MultiNLI'}, head on frozen MiniLM"

    @cached_property
    def workload(self) -> Texts:
        """Data set with its sample of rows."""
        return WORKLOADS[self.name](self.data, rows=self.rows, queries=self.count)

    @cached_property
    def train(self) -> fastif.TensorExamples:
        """Training rows."""
        return self._reduce(self._read(0))

    @property
    def labels(self) -> Int[Tensor, " n"]:
        return self.train.labels

    @cached_property
    def queries(self) -> fastif.TensorExamples:
        return self._reduce(self._read(1))

    @cached_property
    def attributor(self) -> fastif.Attributor:
        classes = len(self.workload.labels)
        module = torch.nn.Linear(self.train.inputs.shape[1], classes).double()
        for parameter in module.parameters():
            torch.nn.init.zeros_(parameter)
        objective = fastif.ModuleObjective(module, fastif.CrossEntropy(), penalty=PENALTY)
        objective.params = retrain_exact(objective, self.train, PENALTY)
        operator = fastif.GaussNewton(objective, self.train).with_damping(0.0)
        return fastif.Attributor(objective, self.train, operator, fastif.Direct())

    def retrain(self, edit: RowEdit, query: int, seed: int) -> Float[Tensor, " c"]:
        objective, weights, labels = self.attributor.objective, None, self.labels.clone()
        if edit.labels is None:
            weights = torch.ones(len(labels), dtype=torch.float64)
            weights[edit.ids] = 0
        else:
            labels[edit.ids] = edit.labels
        edited = fastif.TensorExamples(self.train.inputs, labels)
        params = retrain_exact(objective, edited, PENALTY, weights)
        return objective.outputs(params, self.queries.take(torch.tensor([query])))[0]

    def _reduce(self, rows: fastif.TensorExamples) -> fastif.TensorExamples:
        """Return the rows with features of pairs in the components of the training rows."""
        if len(self.workload.columns) == 1:
            return rows
        centre, axes = self._components
        return fastif.TensorExamples((rows.inputs - centre) @ axes, rows.labels, batch_size=256)

    @cached_property
    def _components(self) -> tuple[Float[Tensor, " d"], Float[Tensor, "d w"]]:
        inputs = self._read(0).inputs
        centre = inputs.mean(0)
        axes = torch.linalg.svd(inputs - centre, full_matrices=False).Vh
        return centre, axes[:COMPONENTS].T.contiguous()

    def _read(self, part: int) -> fastif.TensorExamples:
        path = self.work / f"{self.name}-{part}-{self.rows}-{self.count}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(self._embed(part), path)
        features = load_file(path)
        return fastif.TensorExamples(features["inputs"], features["labels"], batch_size=256)

    def _embed(self, part: int) -> dict[str, Tensor]:
        frame, workload = self.workload._frame(part), self.workload
        encoder = load_encoder(base_folder())
        tokenizer = fastif.load_tokenizer(base_folder(), encoder)
        views = []
        for column in workload.columns:
            texts = frame[column].to_list()
            tokens = fastif.encode(tokenizer, texts, None, [0] * len(texts), MAX_LENGTH)
            pooled = mean_pool(encoder, tokens, torch.arange(len(texts)))[:, 1].double()
            views.append(torch.nn.functional.normalize(pooled, dim=1))
        inputs = views[0] if len(views) == 1 else make_pair_features(*views)
        known = {label: unit for unit, label in enumerate(workload.labels)}
        labels = torch.tensor([known[label] for label in frame["label"]])
        return {"inputs": inputs, "labels": labels}
