"""A model and its tokens as a run needs them, checked against the study."""

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
    """Both tables as tokens.

    Attributes:
        train, queries: the tables of the study.
    """

    train: fastif.TextExamples
    queries: fastif.TextExamples

    def match_padding(self, objective: fastif.TransformerObjective) -> "TokenizedTables":
        """The same tokens; only those of equal length together, if the model takes no padding."""
        if objective.padding.side is not None:
            return self
        return TokenizedTables(self.train.with_equal_lengths(), self.queries.with_equal_lengths())

    def to_device(self, device: torch.device) -> "TokenizedTables":
        """The same tokens, held once, for a model on another device."""
        return TokenizedTables(self.train.to_device(device), self.queries.to_device(device))


def load_objective(
    inputs: Inputs, folder: Path, device: torch.device
) -> fastif.TransformerObjective:
    """The model of a folder with the study's loss.

    Raises:
        InputError: it does not fit the study.
    """
    study = inputs.study
    model = fastif.load_model(folder, study.labels)
    check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        _select_attributed(study),
        study.loss.build(inputs.train.labels, len(study.labels)),
        fastif.CrossEntropy(),  # queries are judged by their plain loss
        study.penalty,
    )
    objective.per_example_backward = study.run.one_by_one
    return objective


def load_tokenized_tables(
    inputs: Inputs, folder: Path, objective: fastif.TransformerObjective
) -> TokenizedTables:
    """Both tables, tokenised for the model of a folder.

    Raises:
        InputError: the tokenizer does not fit the model, or the model cannot read a row.
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
    return texts.match_padding(objective)


def _select_attributed(study: Study) -> str | list[str]:
    chosen = study.parameters.attributed
    return chosen if isinstance(chosen, str) else list(chosen)
