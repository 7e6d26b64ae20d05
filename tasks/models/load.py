"""Loading of a model and of its tokenized tables, checked against the study."""

from dataclasses import dataclass
from pathlib import Path

import torch

import fastif
from fastif.models.max_positions import check_length
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class TokenizedTables:
    """Both tables of a study, tokenized.

    Attributes:
        train, queries: Tokenized tables.
    """

    train: fastif.TextExamples
    queries: fastif.TextExamples

    def match_padding(self, objective: fastif.TransformerObjective) -> "TokenizedTables":
        """Return the tables with batches of equal lengths, if the model has no padding."""
        if objective.padding.side is not None:
            return self
        return TokenizedTables(self.train.with_equal_lengths(), self.queries.with_equal_lengths())

    def to_device(self, device: torch.device) -> "TokenizedTables":
        """Return the tables for a model on another device."""
        return TokenizedTables(self.train.to_device(device), self.queries.to_device(device))


def load_objective(
    inputs: Inputs, folder: Path, device: torch.device
) -> fastif.TransformerObjective:
    """Load the model of a folder with the study's loss.

    Raises:
        InputError: The model does not fit the study.
    """
    study = inputs.study
    model = fastif.load_model(folder, study.labels)
    check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        _select_attributed(study),
        study.loss.build(inputs.train.labels, len(study.labels)),
        fastif.CrossEntropy(),  # loss of queries, without weights or smoothing
        study.penalty,
    )
    objective.per_example_backward = study.run.one_by_one
    return objective


def load_tokenized_tables(
    inputs: Inputs, folder: Path, objective: fastif.TransformerObjective
) -> TokenizedTables:
    """Tokenize both tables for the model of a folder.

    Raises:
        InputError: The tokenizer does not fit the model, or the model cannot read a row.
    """
    study = inputs.study
    tokenizer = fastif.load_tokenizer(folder, objective.full_model)

    def encode_table(table: Table) -> fastif.TextExamples:
        return fastif.encode(
            tokenizer,
            table.texts,
            table.text_pairs,
            table.labels,
            study.model.max_length,
            objective.like.device,
            study.run.batch_tokens,
            study.run.batch_size,
        )

    texts = TokenizedTables(encode_table(inputs.train), encode_table(inputs.queries))
    objective.verify_shortcuts(texts.train, texts.queries)
    if tokenizer.pad_token_id is not None:
        objective.compare_tokenizer_padding(texts.train)
    return texts.match_padding(objective)


def _select_attributed(study: Study) -> str | list[str]:
    chosen = study.parameters.attributed
    return chosen if isinstance(chosen, str) else list(chosen)
