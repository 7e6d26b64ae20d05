"""Removal effects of a saved model, by dense double precision matrices; nothing of ours in it."""

from pathlib import Path

import polars as pl
import reference
import torch
from tiny import LABELS, MAX_LENGTH
from torch import Tensor
from transformers import BertForSequenceClassification, BertTokenizerFast


class Truth:
    """The saved model at work, one example at a time, without padding.

    Args:
        folder: of the model.
        train, queries: rows as they stand in the tables.
        prefixes: of the attributed parameters' names.
        pairs: whether the second text is read too.
    """

    def __init__(
        self,
        folder: Path,
        train: list[dict[str, str]],
        queries: list[dict[str, str]],
        prefixes: tuple[str, ...],
        pairs: bool = False,
    ) -> None:
        self.model = BertForSequenceClassification.from_pretrained(
            folder, attn_implementation="eager"
        )
        self.model.double().eval()
        self.tokenizer = BertTokenizerFast.from_pretrained(folder)
        self.names = [n for n, _ in self.model.named_parameters() if n.startswith(prefixes)]
        self.train, self.queries = (self._problem(rows, pairs) for rows in (train, queries))

    def _problem(self, rows: list[dict[str, str]], pairs: bool) -> reference.Problem:
        inputs = []
        for row in rows:
            second = row["second"] if pairs else None
            inputs.append(
                dict(
                    self.tokenizer(
                        row["text"],
                        second,
                        truncation=True,
                        max_length=MAX_LENGTH,
                        return_tensors="pt",
                    )
                )
            )
        targets = [torch.tensor([LABELS.index(row["label"])]) for row in rows]
        return reference.Problem(self.model, self.names, inputs, targets, reference.cross_entropy)

    def effects(self, damping: float, kind: str = "gauss-newton") -> Tensor:
        """Removal effects [queries train]."""
        matrix = getattr(reference, kind.replace("-", "_"))(self.train)
        grads = (reference.gradients(problem) for problem in (self.queries, self.train))
        return reference.removal_effects(*grads, matrix, damping)

    @torch.no_grad()
    def outputs(self, problem: reference.Problem) -> Tensor:
        """Logits [n c]."""
        return torch.cat([self.model(**given).logits for given in problem.inputs])

    @torch.no_grad()
    def distances(self) -> Tensor:
        """Squared distances [queries train] of the inputs of the classifier."""

        def rows(problem: reference.Problem) -> Tensor:
            pooled = [self.model.bert(**given).pooler_output for given in problem.inputs]
            return torch.cat(pooled)

        return torch.cdist(rows(self.queries), rows(self.train)).square()


def table(effects: Tensor, scores: pl.DataFrame) -> Tensor:
    """The true effects of the pairs in a table of scores."""
    places = [torch.tensor(scores[key].to_list()) for key in ("query", "train")]
    return effects[places[0], places[1]]
