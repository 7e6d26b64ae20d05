"""A trained NLI model, its training rows and some queries, for experiments that explain it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import fastif
from tasks.data.dataset import Table
from tasks.models.finetune import train_model
from tasks.run.spec import read_inputs

BATCH = 32


Pick = Callable[[Tensor], Tensor]
"""Of which queries are predicted right, the positions of those that are asked."""


class Explained:
    """The model with some of its parameters attributed.

    Attributes:
        objective: of the attributed parameters.
        train: its training rows, frozen layers computed once.
        asked: the queries that were picked.
        picked: their positions in the table of queries.
        right: which of them are predicted right.
    """

    def __init__(self, study: Path, attributed: str | Sequence[str], pick: Pick) -> None:
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
        outputs, _ = fastif.predict(self.objective, encoded(inputs.queries))
        right = outputs.argmax(1) == torch.tensor(inputs.queries.labels)
        self.picked = pick(right)
        self.asked = encoded(inputs.queries.take(self.picked.tolist()))
        self.right = right[self.picked]

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


def halves(count: int) -> Pick:
    """Half of them predicted right and half wrong, among every fifth."""

    def pick(right: Tensor) -> Tensor:
        places = torch.arange(0, len(right), 5)
        of = right[places]
        half = count // 2
        return torch.cat([places[of][:half], places[~of][:half]])

    return pick
