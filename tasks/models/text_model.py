"""Text classifier of a study: its model, checked against the study, and its tokenized tables."""

from functools import cache
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.models.max_positions import check_length
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.loaded_model import LoadedModel


def load_text_model(inputs: Inputs, folder: Path, device: torch.device) -> LoadedModel:
    """Load the text classifier of a folder with the study's loss.

    Raises:
        InputError: The model or its tokenizer does not fit the study.
    """
    study = inputs.study
    model = fastif.load_model(folder, study.labels)
    check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        study.parameters.selection,
        study.loss.build(inputs.train.labels, len(study.labels)),
        fastif.CrossEntropy(),  # loss of queries, without weights or smoothing
        study.penalty,
    )

    @cache
    def get_tokenizer() -> PreTrainedTokenizerBase:
        return fastif.load_tokenizer(folder, objective.full_model)

    def encode_table(table: Table) -> fastif.TextExamples:
        return fastif.encode(
            get_tokenizer(),
            table.texts,
            table.text_pairs,
            table.labels,
            study.model.max_length,
            objective.like.device,
            study.run.batch_tokens,
            study.run.batch_size,
        )

    def compare_padding(_: fastif.Objective, texts: fastif.Examples) -> None:
        if get_tokenizer().pad_token_id is not None:
            objective.compare_tokenizer_padding(texts)

    return LoadedModel(objective, encode_table, compare_padding)
