"""Token classifier of a study, and its tables as sentences with a tag for each word."""

from functools import cache
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.data.encode_words import encode_words
from fastif.data.tagged_sentences import TaggedSentences
from fastif.errors import InputError
from fastif.models.max_positions import check_length
from fastif.models.token_objective import TokenObjective
from fastif.models.token_pretrained import load_token_classifier, load_word_tokenizer
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.data.target_text import UNTAGGED
from tasks.data.word_text import split_words
from tasks.models.loaded_model import LoadedModel
from tasks.models.target_outputs import make_query_loss, make_training_loss
from tasks.study.errors import join_some
from tasks.study.study import Study

MAX_SHOWN = 5


def load_token_model(inputs: Inputs, folder: Path, device: torch.device) -> LoadedModel:
    """Load the token classifier of a folder with the study's loss.

    Raises:
        InputError: The model or its tokenizer does not fit the study.
    """
    study = inputs.study
    model = load_token_classifier(folder, study.labels)
    check_length(model, study.model.max_length)
    model.to(device)  # type: ignore[arg-type]
    objective = TokenObjective(
        model,
        study.parameters.selection,
        make_training_loss(study, inputs.train),
        make_query_loss(study),
        study.penalty,
    )

    @cache
    def get_tokenizer() -> PreTrainedTokenizerBase:
        return load_word_tokenizer(folder, objective.full_model)

    def encode_table(table: Table) -> TaggedSentences:
        return encode_sentences(study, get_tokenizer(), table, objective.like.device)

    def compare_padding(_: fastif.Objective, sentences: fastif.Examples) -> None:
        if get_tokenizer().pad_token_id is not None:
            objective.compare_tokenizer_padding(sentences)

    return LoadedModel(objective, encode_table, compare_padding)


def encode_sentences(
    study: Study, tokenizer: PreTrainedTokenizerBase, table: Table, device: torch.device
) -> TaggedSentences:
    """Tokenize the sentences of a table, with a label for each word that the study's model reads.

    Words of a sentence without tags have the first label, until `resolve_targets` replaces it.

    Raises:
        InputError: A sentence has no tagged word that the model reads.
    """
    words = [split_words(text) for text in table.texts]
    sentences = encode_words(
        tokenizer,
        words,
        [[0] * len(row) for row in words],
        study.model.max_length,
        study.model.subwords,
        device,
        study.run.batch_tokens,
        study.run.batch_size,
    )
    tags = [
        [int(tag) for tag in row] if isinstance(row, tuple) else [0] * len(sentence)
        for row, sentence in zip(table.given_labels, words, strict=True)
    ]
    _check_read(sentences, tags, table)
    _announce_unread(sentences, tags, table)
    return sentences.with_word_labels(tags)


def _check_read(sentences: TaggedSentences, tags: list[list[int]], table: Table) -> None:
    """Refuse sentences without any tagged word that the model reads, by their ids."""
    unread = [
        table.ids[place]
        for place, row in enumerate(tags)
        if all(row[word] == UNTAGGED for word in sentences.list_words(place))
    ]
    if unread:
        raise InputError(
            table.place,
            "a tagged word that the model reads in every row",
            f"none in the rows with the ids {join_some(unread, MAX_SHOWN)}",
            "Raise [model] max_length, behind which these words are; remove the rows; or remove "
            "[queries] by_span.",
        )


def _announce_unread(sentences: TaggedSentences, tags: list[list[int]], table: Table) -> None:
    """Tell how many tagged words have no loss, and why."""
    unread = cut = 0
    truncated = sentences.truncated.tolist()
    for place, row in enumerate(tags):
        tagged = {word for word, tag in enumerate(row) if tag != UNTAGGED}
        missing = len(tagged - {*sentences.list_words(place)})
        unread += missing
        cut += missing if truncated[place] else 0
    if unread:
        total = sum(tag != UNTAGGED for row in tags for tag in row)
        announce_notes(
            [
                f"{table.place}: {unread:,} of {total:,} tagged words have no loss and no effect: "
                f"{cut:,} in sentences longer than [model] max_length, the others without any "
                "token of their own"
            ]
        )
