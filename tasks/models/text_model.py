"""Text classifier of a study: its model, checked against the study, and its tokenized tables."""

from functools import cache
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.models.max_positions import check_length
from fastif.models.token_pretrained import check_sequence_classifier
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.loaded_model import LoadedModel
from tasks.models.target_outputs import (
    check_output_count,
    get_output_names,
    get_problem_type,
    make_query_loss,
    make_targets,
    make_training_loss,
)


def load_text_model(inputs: Inputs, folder: Path, device: torch.device) -> LoadedModel:
    """Load the text classifier of a folder with the study's loss.

    Raises:
        InputError: The model or its tokenizer does not fit the study.
    """
    study = inputs.study
    check_sequence_classifier(folder)
    names, problem_type = get_output_names(study), get_problem_type(study)
    model = fastif.load_model(folder, names, problem_type=problem_type)
    check_output_count(study, model.config.num_labels)
    check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        study.parameters.selection,
        make_training_loss(study, inputs.train),
        make_query_loss(study),
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
            make_targets(study, table),
            study.model.max_length,
            objective.like.device,
            study.run.batch_tokens,
            study.run.batch_size,
        )

    def compare_padding(_: fastif.Objective, texts: fastif.Examples) -> None:
        if get_tokenizer().pad_token_id is not None:
            objective.compare_tokenizer_padding(texts)

    return LoadedModel(objective, encode_table, compare_padding)
