"""A trained NLI model, its training rows and some queries, for experiments that explain it."""

from collections.abc import Sequence

import torch
from torch import Tensor

import fastif
from tasks.experiments.nli import written
from tasks.experiments.place import Place
from tasks.plan import read_inputs
from tasks.tables import Table
from tasks.train import train_model

BATCH = 32


class Explained:
    """The model with some of its parameters attributed.

    Attributes:
        objective: of the attributed parameters.
        train: its training rows, frozen layers computed once.
        asked: queries, half of them predicted right and half wrong.
        right: which are.
    """

    def __init__(
        self, place: Place, rows: int, queries: int, attributed: str | Sequence[str]
    ) -> None:
        study = written(place, rows, rows)
        folder = train_model.fn(str(study)).folder
        inputs = read_inputs(study)
        model = fastif.load_model(folder, inputs.study.labels)
        chosen = attributed if isinstance(attributed, str) else list(attributed)
        self.objective = fastif.TransformerObjective(model, chosen, fastif.CrossEntropy())
        tokenizer = fastif.load_tokenizer(folder, model)

        def encoded(table: Table) -> fastif.PrefixCache:
            length = inputs.study.model.max_length
            columns = (table.texts, table.text_pairs, table.labels)
            texts = fastif.encode(tokenizer, *columns, length)
            return fastif.PrefixCache(self.objective, texts, 512 * 2**20)

        self.train = encoded(inputs.train)
        everyone = inputs.queries.take(range(0, len(inputs.queries), 5))
        outputs, _ = fastif.predict(self.objective, encoded(everyone))
        right = outputs.argmax(1) == torch.tensor(everyone.labels)
        half = queries // 2
        picked = torch.cat([right.nonzero()[:half, 0], (~right).nonzero()[:half, 0]])
        self.asked = encoded(everyone.take(picked.tolist()))
        self.right = right[picked]

    @property
    def matrix(self) -> fastif.GaussNewton:
        """The curvature of all training rows."""
        return fastif.GaussNewton(self.objective, self.train, batch_size=BATCH)

    @property
    def gradients(self) -> Tensor:
        """Of the queries, [q p]."""
        every = fastif.every(self.asked)
        return fastif.gradient_rows(fastif.Gradients(self.objective), self.asked, every, BATCH)

    def scores(self, s_test: Tensor) -> Tensor:
        """Removal effects of all training rows, [q n]."""
        found = fastif.influence(fastif.Gradients(self.objective), self.train, s_test)
        return found.removal_effect.gather(1, found.ids.argsort(1))
