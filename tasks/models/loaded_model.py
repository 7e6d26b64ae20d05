"""Loaded model of a study, and the two tables of the study as its inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

import fastif
from fastif.data.examples import LabeledExamples
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.output_order import list_order_notes
from tasks.study.target_kind import TAGS


@dataclass(frozen=True, eq=False)
class EncodedTables:
    """Both tables of a study as inputs of its model: tokens, pixels or tensors.

    Attributes:
        train, queries: Encoded tables.
    """

    train: LabeledExamples
    queries: LabeledExamples

    def match_padding(self, objective: fastif.Objective) -> "EncodedTables":
        """Return the tables with batches of equal lengths, if the model has no padding."""
        if objective.padding_side is not None:
            return self
        return EncodedTables(self.train.with_equal_lengths(), self.queries.with_equal_lengths())

    def to_device(self, device: torch.device) -> "EncodedTables":
        """Return the tables for a model on another device."""
        return EncodedTables(self.train.to_device(device), self.queries.to_device(device))


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """Model with its loss, and its way to read a table.

    Attributes:
        objective: Model and loss.
        encode: Function from a table to the model's inputs.
        check: Function that compares the outputs with what the study expects.
    """

    objective: fastif.Objective
    encode: Callable[[Table], LabeledExamples]
    check: Callable[[fastif.Objective, fastif.Examples], None] = lambda *_: None

    def encode_tables(self, inputs: Inputs) -> EncodedTables:
        """Encode both tables, and test the model's optimisations on some of their rows.

        Queries without labels have that of the first training row, until `resolve_targets` of
        the run replaces it.

        Raises:
            InputError: The tokenizer does not fit the model, or the model cannot read a row.
        """
        queries = inputs.queries
        if not queries.is_labelled and queries.kind != TAGS:  # tags are as many as words
            first = inputs.train.targets[0]
            labels = [first if label is None else label for label in queries.given_labels]
            queries = queries.with_labels(labels)
        tables = EncodedTables(self.encode(inputs.train), self.encode(queries))
        self.objective.verify_shortcuts(tables.train, tables.queries)
        self.check(self.objective, tables.train)
        announce_notes(list_order_notes(inputs.study, self.objective, tables.train, inputs.train))
        return tables.match_padding(self.objective)
