"""NLI classifier on frozen sentence embeddings; one training takes a second.

MiniLM embeds both sentences of a pair separately. The embeddings, their difference and their
product are the input of a network with one hidden layer, all of which is trained and attributed.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.mislabels.features import concat_views
from fastif.mislabels.text_embeddings import make_pair_features, mean_pool
from fastif.models.parameters import Params
from fastif.models.pretrained import load_encoder
from fastif.solvers import Solver
from fastif.training.retrain import compute_losses
from tasks.data.dataset import Table
from tasks.data.inputs import read_inputs
from tasks.experiments.nli_data import write_nli_study
from tasks.experiments.workspace import Workspace
from tasks.models.locate import find_base_folder

RECIPE = fastif.TrainingConfig(epochs=8, learning_rate=2e-3, weight_decay=0.01, batch_size=32)
DAMPING, WIDTH, LENGTH = 0.1, 64, 64
STAND_IN = (
    "Substitute for the fine-tuned encoder: a network with one hidden layer on frozen MiniLM "
    "features of both sentences, so that hundreds of trainings are feasible."
)


class FrozenFeatures:
    """Training rows and queries as frozen features.

    Attributes:
        train: Training rows.
        queries: Selected queries.
    """

    def __init__(self, workspace: Workspace, rows: int, query_count: int) -> None:
        inputs = read_inputs(write_nli_study(workspace, rows, rows))
        step = max(1, len(inputs.queries) // query_count)
        query_table = inputs.queries.take(range(0, len(inputs.queries), step))
        folder = find_base_folder(inputs.study)
        features = workspace.cache_tensors(
            "features", lambda: _compute_features(folder, inputs.train, query_table)
        )
        self.train = fastif.TensorExamples(features["train"], torch.tensor(inputs.train.labels))
        self.queries = fastif.TensorExamples(features["asked"], torch.tensor(query_table.labels))

    def make_untrained(self, seed: int) -> fastif.ModuleObjective:
        """Return a network with random weights."""
        torch.manual_seed(seed)
        width = self.train.inputs.shape[1]
        net = nn.Sequential(nn.Linear(width, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2))
        return fastif.ModuleObjective(net, fastif.CrossEntropy())

    def train_classifier(
        self, seed: int, ids: Tensor | None = None, labels: Tensor | None = None
    ) -> fastif.ModuleObjective:
        """Return a classifier trained on all rows, on `ids` alone, or with other `labels`."""
        objective = self.make_untrained(seed)
        targets = self.train.labels if labels is None else labels
        used = fastif.all_ids(self.train) if ids is None else ids
        rows = fastif.TensorExamples(self.train.inputs[used], targets[used])
        objective.params = fastif.fit(objective, rows, RECIPE)
        return objective

    def predict_queries(self, objective: fastif.ModuleObjective) -> Tensor:
        """Return the outputs of a classifier for all queries, [q 2]."""
        return fastif.predict(objective, self.queries)[0]

    def compute_losses(
        self, objective: fastif.ModuleObjective, params: Params, ids: Sequence[int]
    ) -> Tensor:
        """Return the losses of the queries `ids` under `params`."""
        return compute_losses(objective, params, self.queries.take(torch.tensor(ids)))

    @cached_property
    def model(self) -> fastif.ModuleObjective:
        """The explained classifier: seed 0, all rows."""
        return self.train_classifier(0)

    def compute_removal_effects(self, ids: Sequence[int], solver: Solver, damping: float) -> Tensor:
        """Return the removal effects of all rows on the queries `ids`, [q n]."""
        gradients = fastif.Gradients(self.model)
        b = compute_loss_gradients(gradients, self.queries, torch.tensor(ids))
        matrix = fastif.GaussNewton(self.model, self.train).with_damping(damping)
        influence = fastif.influence(gradients, self.train, solver.solve(matrix, b).value)
        return influence.removal_effect.gather(1, influence.ids.argsort(1))

    def find_neighbours(self, ids: Sequence[int], k: int) -> Tensor:
        """Return the `k` nearest training rows of the queries `ids`, [q k]."""
        rows = fastif.compute_embeddings(self.model, self.train)
        queries = fastif.compute_embeddings(self.model, self.queries, torch.tensor(ids))
        return torch.cdist(queries, rows).topk(k, dim=1, largest=False).indices

    def split_by_correctness(self, count: int) -> tuple[list[int], list[int]]:
        """Return up to `count` queries predicted correctly, and as many predicted wrong."""
        right = self.predict_queries(self.model).argmax(1) == self.queries.labels
        return right.nonzero()[:count, 0].tolist(), (~right).nonzero()[:count, 0].tolist()


def _compute_features(folder: Path, train: Table, queries: Table) -> dict[str, Tensor]:
    """Compute the features of both tables together."""
    encoder, tokenizer = load_encoder(folder), fastif.load_tokenizer(folder)
    columns = []
    for texts in ([*train.texts, *queries.texts],
                  [*(train.text_pairs or ()), *(queries.text_pairs or ())]):  # fmt: skip
        tokens = fastif.encode(tokenizer, texts, None, [0] * len(texts), LENGTH)
        columns.append(mean_pool(encoder, tokens, fastif.all_ids(tokens))[:, 1])
    rows = 4 * concat_views([make_pair_features(*columns)])
    return {"train": rows[: len(train)], "asked": rows[len(train) :]}
