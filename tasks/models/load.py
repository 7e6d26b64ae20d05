"""A model and its tokens as a job needs them, checked against the study."""

from dataclasses import dataclass
from pathlib import Path

import torch

import fastif
from tasks.data.dataset import Table
from tasks.run.spec import Plan
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class Texts:
    """Both tables as tokens.

    Attributes:
        train, queries: the tables of the study.
    """

    train: fastif.TextExamples
    queries: fastif.TextExamples

    def padded_for(self, objective: fastif.TransformerObjective) -> "Texts":
        """The same tokens; only those of equal length together, if the model takes no padding."""
        if objective.padding.side is not None:
            return self
        return Texts(self.train.of_equal_lengths(), self.queries.of_equal_lengths())

    def on(self, device: torch.device) -> "Texts":
        """The same tokens, held once, for a model on another device."""
        return Texts(self.train.on(device), self.queries.on(device))


def load_objective(plan: Plan, folder: Path, device: torch.device) -> fastif.TransformerObjective:
    """The model of a folder with the study's loss.

    Raises:
        InputError: it does not fit the study.
    """
    study = plan.inputs.study
    model = fastif.load_model(folder, study.labels)
    fastif.check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        _attributed(study),
        study.loss.made(plan.inputs.train.labels, len(study.labels)),
        fastif.CrossEntropy(),  # queries are judged by their plain loss
        study.penalty,
    )
    objective.one_by_one = study.run.one_by_one
    return objective


def load_texts(plan: Plan, folder: Path, objective: fastif.TransformerObjective) -> Texts:
    """Both tables, tokenised for the model of a folder.

    Raises:
        InputError: the tokenizer does not fit the model, or the model cannot read a row.
    """
    study = plan.inputs.study
    tokenizer = fastif.load_tokenizer(folder, objective.whole)

    def encoded(table: Table) -> fastif.TextExamples:
        return fastif.encode(
            tokenizer,
            table.texts,
            table.text_pairs,
            table.labels,
            study.model.max_length,
            objective.like.device,
            study.run.batch_tokens,
        )

    texts = Texts(encoded(plan.inputs.train), encoded(plan.inputs.queries))
    objective.prove(texts.train, texts.queries)
    return texts.padded_for(objective)


def _attributed(study: Study) -> str | list[str]:
    chosen = study.parameters.attributed
    return chosen if isinstance(chosen, str) else list(chosen)
