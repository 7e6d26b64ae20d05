"""Trained NLI model with its training rows and selected queries."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.prefix_cache import PrefixCache
from tasks.data.dataset import Table
from tasks.data.inputs import read_inputs
from tasks.models.finetune import train_model

QueryPicker = Callable[[Tensor], Tensor]
"""Function from the mask of correct predictions to the positions of the selected queries."""


class TrainedNli:
    """The model, with some of its parameters attributed.

    Attributes:
        objective: Objective of the attributed parameters.
        train: Training rows, with the frozen layers computed once.
        queries: Selected queries.
        positions: Positions of the selected queries in the table of queries.
        is_correct: Mask of the selected queries that are predicted correctly.
    """

    def __init__(
        self, study: Path, attributed: str | Sequence[str], pick_queries: QueryPicker
    ) -> None:
        folder = train_model.fn(str(study)).folder
        inputs = read_inputs(study)
        model = fastif.load_model(folder, inputs.study.labels)
        selection = attributed if isinstance(attributed, str) else list(attributed)
        self.objective = fastif.TransformerObjective(model, selection, fastif.CrossEntropy())
        tokenizer = fastif.load_tokenizer(folder, model)

        def encode_table(table: Table) -> PrefixCache:
            length = inputs.study.model.max_length
            columns = (table.texts, table.text_pairs, table.labels)
            texts = fastif.encode(tokenizer, *columns, length)
            return PrefixCache(self.objective, texts, 512 * 2**20)

        self.train = encode_table(inputs.train)
        outputs, _ = fastif.predict(self.objective, encode_table(inputs.queries))
        is_correct = outputs.argmax(1) == torch.tensor(inputs.queries.labels)
        self.positions = pick_queries(is_correct)
        self.queries = encode_table(inputs.queries.take(self.positions.tolist()))
        self.is_correct = is_correct[self.positions]

    @property
    def curvature(self) -> fastif.GaussNewton:
        """Gauss-Newton curvature of all training rows."""
        return fastif.GaussNewton(self.objective, self.train)

    @property
    def query_gradients(self) -> Tensor:
        """Loss gradients of the queries, [q p]."""
        return compute_loss_gradients(fastif.Gradients(self.objective), self.queries)

    def compute_removal_effects(self, s_test: Tensor) -> Tensor:
        """Return the removal effects of all training rows, [q n]."""
        influence = fastif.influence(fastif.Gradients(self.objective), self.train, s_test)
        return influence.removal_effect.gather(1, influence.ids.argsort(1))


def make_balanced_picker(count: int) -> QueryPicker:
    """Return a picker of queries, half predicted correctly and half wrong, from every fifth."""

    def pick(right: Tensor) -> Tensor:
        positions = torch.arange(0, len(right), 5)
        is_correct = right[positions]
        half = count // 2
        return torch.cat([positions[is_correct][:half], positions[~is_correct][:half]])

    return pick
