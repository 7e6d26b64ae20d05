"""An NLI classifier of which pooler and head alone are trained: a training takes a second."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

import fastif
from fastif.applications import losses_of
from fastif.examples import Selected
from fastif.parameters import Params
from tasks.devices import devices_of
from tasks.experiments.nli import written
from tasks.experiments.place import Place
from tasks.model import base_folder
from tasks.plan import Inputs
from tasks.study import load_study
from tasks.tables import Table, check_against, read_table
from tasks.train import new_objective

RECIPE = fastif.Recipe(epochs=3, learning_rate=1e-3, weight_decay=0.01, batch_size=32)
DAMPING = 0.1
TRAINED = ["pooler", "classifier"]


class Heads:
    """Training and query rows above a frozen encoder, and trainings on some of them.

    Attributes:
        train, asked: with the encoder computed once.
        labels: of the training rows.
    """

    def __init__(self, place: Place, rows: int, queries: int) -> None:
        self.study = load_study(written(place, rows, rows, TRAINED))
        tables = (
            read_table(source, self.study.labels, self.study.folder, role)
            for source, role in ((self.study.train, "train"), (self.study.queries, "queries"))
        )
        self.inputs = Inputs(self.study, *tables)
        check_against(self.study, self.inputs.train, self.inputs.queries)
        first = self.start(0)
        tokenizer = fastif.load_tokenizer(base_folder(self.study), first.whole)

        def encoded(table: Table) -> fastif.PrefixCache:
            columns = (table.texts, table.text_pairs, table.labels)
            texts = fastif.encode(tokenizer, *columns, self.study.model.max_length)
            return fastif.PrefixCache(first, texts, 512 * 2**20)

        self.train = encoded(self.inputs.train)
        step = max(1, len(self.inputs.queries) // queries)
        chosen = self.inputs.queries.take(range(0, len(self.inputs.queries), step))
        self.asked, self.asked_labels = encoded(chosen), torch.tensor(chosen.labels)
        self.labels = torch.tensor(self.inputs.train.labels)

    def start(self, seed: int) -> fastif.TransformerObjective:
        """The base model with a new head."""
        device = devices_of(("cpu",))[0].torch
        base = base_folder(self.study)
        return new_objective(self.study, base, self.inputs.train, seed, device)

    def trained(
        self, seed: int, ids: Tensor | None = None, labels: Tensor | None = None
    ) -> fastif.TransformerObjective:
        """A classifier of some rows, or of other labels."""
        objective = self.start(seed)
        rows = self.train if labels is None else fastif.Relabelled(self.train, labels)
        some = rows if ids is None else Selected(rows, ids)
        objective.params = fastif.fit(objective, some, RECIPE)
        return objective

    def outputs(self, objective: fastif.TransformerObjective) -> Tensor:
        """Of all queries."""
        return fastif.predict(objective, self.asked)[0]

    def losses(
        self, objective: fastif.TransformerObjective, params: Params, ids: Sequence[int]
    ) -> Tensor:
        """Of some queries under some parameters."""
        return losses_of(objective, params, self.asked.take(torch.tensor(ids)))

    @cached_property
    def model(self) -> fastif.TransformerObjective:
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
        right = self.outputs(self.model).argmax(1) == self.asked_labels
        return right.nonzero()[:each, 0].tolist(), (~right).nonzero()[:each, 0].tolist()
