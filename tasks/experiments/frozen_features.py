"""An NLI classifier on frozen features of its texts: a training takes a second.

MiniLM reads both sentences of a pair by itself; what it says of them, how they differ and what they
share goes into a network of one hidden layer, all of which is trained and attributed.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import fastif
from fastif.mislabels.features import joined
from fastif.mislabels.text_embeddings import compared, mean_pooled
from fastif.models.parameters import Params
from fastif.training.retrain import losses_of
from tasks.data.dataset import Table
from tasks.experiments.nli_data import written
from tasks.experiments.workspace import Place
from tasks.models.locate import base_folder
from tasks.run.spec import read_inputs

RECIPE = fastif.Recipe(epochs=8, learning_rate=2e-3, weight_decay=0.01, batch_size=32)
DAMPING, WIDTH, LENGTH = 0.1, 64, 64
MADE_OF = (
    "A network of one hidden layer on frozen MiniLM features of both sentences stands in for the "
    "fine-tuned encoder, so that hundreds of trainings can be had."
)


class Heads:
    """Training and query rows as features.

    Attributes:
        train, asked: rows.
    """

    def __init__(self, place: Place, rows: int, queries: int) -> None:
        inputs = read_inputs(written(place, rows, rows))
        step = max(1, len(inputs.queries) // queries)
        chosen = inputs.queries.take(range(0, len(inputs.queries), step))
        folder = base_folder(inputs.study)
        made = place.kept("features", lambda: _features(folder, inputs.train, chosen))
        self.train = fastif.TensorExamples(made["train"], torch.tensor(inputs.train.labels))
        self.asked = fastif.TensorExamples(made["asked"], torch.tensor(chosen.labels))

    def start(self, seed: int) -> fastif.ModuleObjective:
        """A network that has learned nothing."""
        torch.manual_seed(seed)
        width = self.train.inputs.shape[1]
        net = nn.Sequential(nn.Linear(width, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2))
        return fastif.ModuleObjective(net, fastif.CrossEntropy())

    def trained(
        self, seed: int, ids: Tensor | None = None, labels: Tensor | None = None
    ) -> fastif.ModuleObjective:
        """A classifier of some rows, or of other labels."""
        objective = self.start(seed)
        own = self.train.labels if labels is None else labels
        some = fastif.every(self.train) if ids is None else ids
        rows = fastif.TensorExamples(self.train.inputs[some], own[some])
        objective.params = fastif.fit(objective, rows, RECIPE)
        return objective

    def outputs(self, objective: fastif.ModuleObjective) -> Tensor:
        """Of all queries."""
        return fastif.predict(objective, self.asked)[0]

    def losses(
        self, objective: fastif.ModuleObjective, params: Params, ids: Sequence[int]
    ) -> Tensor:
        """Of some queries under some parameters."""
        return losses_of(objective, params, self.asked.take(torch.tensor(ids)))

    @cached_property
    def model(self) -> fastif.ModuleObjective:
        """The classifier that is explained: seed 0, all rows."""
        return self.trained(0)

    def effects(self, ids: Sequence[int], solver: fastif.Solver, damping: float) -> Tensor:
        """Removal effects of all rows on some queries of the model, [q n]."""
        gradients = fastif.Gradients(self.model)
        b = fastif.gradient_rows(gradients, self.asked, torch.tensor(ids), 32)
        matrix = fastif.GaussNewton(self.model, self.train, batch_size=32).damped(damping)
        found = fastif.influence(gradients, self.train, solver.solve(matrix, b).value)
        return found.removal_effect.gather(1, found.ids.argsort(1))

    def near(self, ids: Sequence[int], k: int) -> Tensor:
        """The nearest training rows of some queries, [q k]."""
        rows = fastif.embeddings(self.model, self.train, fastif.every(self.train))
        asked = fastif.embeddings(self.model, self.asked, torch.tensor(ids))
        return torch.cdist(asked, rows).topk(k, dim=1, largest=False).indices

    def sides(self, each: int) -> tuple[list[int], list[int]]:
        """Queries that the model gets right, and that it gets wrong."""
        right = self.outputs(self.model).argmax(1) == self.asked.labels
        return right.nonzero()[:each, 0].tolist(), (~right).nonzero()[:each, 0].tolist()


def _features(folder: Path, train: Table, asked: Table) -> dict[str, Tensor]:
    """Of the rows of both tables, made together."""
    encoder, tokenizer = fastif.load_encoder(folder), fastif.load_tokenizer(folder)
    columns = []
    for texts in ([*train.texts, *asked.texts],
                  [*(train.text_pairs or ()), *(asked.text_pairs or ())]):  # fmt: skip
        tokens = fastif.encode(tokenizer, texts, None, [0] * len(texts), LENGTH)
        columns.append(mean_pooled(encoder, tokens, fastif.every(tokens))[:, 1])
    rows = 4 * joined([compared(*columns)])
    return {"train": rows[: len(train)], "asked": rows[len(train) :]}
