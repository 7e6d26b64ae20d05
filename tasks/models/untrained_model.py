"""Untrained classifier of a study's training recipe, and the rows as its inputs."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

import fastif
from fastif.data.examples import LabeledExamples
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import load_image_base, load_image_processor
from fastif.models.max_positions import check_length
from fastif.models.pretrained import load_base
from fastif.models.token_objective import TokenObjective
from fastif.models.token_pretrained import load_token_base, load_word_tokenizer
from tasks.data.dataset import Table
from tasks.models.image_model import encode_images
from tasks.models.lora import adapt_base
from tasks.models.target_outputs import (
    get_new_problem_type,
    make_head_names,
    make_query_loss,
    make_targets,
    make_training_loss,
)
from tasks.models.token_model import encode_sentences
from tasks.study.study import Study
from tasks.study.target_kind import TAGS


def encode_rows(
    study: Study, base: Path, objective: fastif.Objective, table: Table
) -> tuple[object, LabeledExamples]:
    """Return the tokenizer or image processor of the base, and the rows as inputs of the model.

    Args:
        study: Study with the kind of the model.
        base: Folder of the base model.
        objective: Untrained model.
        table: Rows to encode, training rows or queries.

    Raises:
        InputError: The processor does not fit the model.
    """
    model, device = objective.full_model, objective.like.device
    assert isinstance(model, PreTrainedModel)
    if study.model_kind == "image":
        processor = load_image_processor(base, model)
        return processor.processor, encode_images(study, table, processor, device)
    length = study.model.max_length
    check_length(model, length)
    if study.target == TAGS:
        tokenizer = load_word_tokenizer(base, model)
        return tokenizer, encode_sentences(study, tokenizer, table, device)
    tokenizer = fastif.load_tokenizer(base, model)
    targets = make_targets(study, table)
    texts = fastif.encode(tokenizer, table.texts, table.text_pairs, targets, length, device)
    return tokenizer, texts


def make_objective(
    study: Study, base: Path, table: Table, seed: int, device: torch.device
) -> fastif.TransformerObjective | ImageObjective:
    """Return the untrained model: the base with a new head, initialized from the seed."""
    assert study.training is not None
    trainable = study.training.trained
    model = _make_classifier(base, study, seed)
    model.to(device)  # type: ignore[arg-type]
    kind = ImageObjective if study.model_kind == "image" else fastif.TransformerObjective
    kind = TokenObjective if study.target == TAGS else kind
    return kind(
        model,
        trainable if isinstance(trainable, str) else list(trainable),
        make_training_loss(study, table),
        make_query_loss(study),  # loss that is reported after training
    )


def _make_classifier(base: Path, study: Study, seed: int) -> PreTrainedModel:
    """Return the base model with a new head of one output a label, and perhaps an adapter."""
    torch.manual_seed(seed)
    if study.target == TAGS:
        return load_token_base(base, make_head_names(study))
    load = load_image_base if study.model_kind == "image" else load_base
    model = load(base, make_head_names(study), get_new_problem_type(study))
    if study.training is None or study.training.lora_rank is None:
        return model
    return adapt_base(model, base, study.training)
