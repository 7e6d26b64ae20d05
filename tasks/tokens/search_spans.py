"""Search for wrong spans in a file of tagged sentences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fastif import InputError
from fastif.models.pretrained import load_encoder, load_tokenizer, read_encoder_max_length
from fastif.tokens import list_tags
from fastif.wrong_spans.span_doubts import SpanDoubt
from fastif.wrong_spans.span_search import SpanSearch
from fastif.wrong_spans.tagged_words import TaggedWords, group_sentences
from fastif.wrong_spans.word_embeddings import embed_words
from tasks.models.locate import find_named_folder
from tasks.tokens.tagged_table import TaggedTable

MAX_LENGTH = 512
"""Largest number of tokens of an encoder without a limit of its own."""
MIN_SPANS = 20
"""Fewest given spans from which heads and error rates are estimated."""


def search_spans(
    table: TaggedTable, encoder: Path | str | None, probabilities: Path | None = None, seed: int = 0
) -> list[SpanDoubt]:
    """Search for wrong spans, the most probable errors first.

    Args:
        table: Tagged sentences.
        encoder: Folder of a text encoder that was not trained on the tags; None for surface
            features alone.
        probabilities: File of probabilities [words, tags] of another model that was not trained on
            these sentences, see `read_probabilities`; None to fit heads.
        seed: Random seed of folds and injected errors.

    Raises:
        InputError: The scheme has no spans of words, there are too few spans, or a file does not
            belong to the table.
    """
    words = make_tagged_words(table)
    embeddings = None if encoder is None else embed_table(table, encoder)
    rows = None if probabilities is None else read_probabilities(probabilities, words)
    return SpanSearch(embeddings, rows, seed)(words)


def make_tagged_words(table: TaggedTable) -> TaggedWords:
    """Return the sentences in groups that share a fold.

    Raises:
        InputError: The scheme has no spans of words, or there are too few spans.
    """
    if table.scheme == "words":
        raise InputError(
            f"{table.path}",
            "tags of spans, such as B-PER",
            "one type for each word",
            "Wrong types of words are not searched yet; state a scheme if these are spans.",
        )
    spans = table.spans
    count = sum(map(len, spans))
    if count < MIN_SPANS:
        raise InputError(
            f"{table.path}",
            f"{MIN_SPANS} spans or more, from which error rates are estimated",
            f"{count}",
            "Add sentences, or review all spans.",
        )
    sentences = [sentence.words for sentence in table.sentences]
    documents = [sentence.document for sentence in table.sentences]
    return TaggedWords(sentences, spans, table.kinds, group_sentences(sentences, documents))


def find_encoder(name: str) -> Path:
    """Return the folder of an encoder: a folder, package:NAME/FOLDER, or hub:OWNER/NAME.

    Raises:
        InputError: It cannot be found.
    """
    return find_named_folder(name, "--encoder")


def embed_table(table: TaggedTable, encoder: Path | str) -> Float[Tensor, "w d"]:
    """Embed every word of a table in its sentence."""
    longest = read_encoder_max_length(encoder)
    sentences: Sequence[Sequence[str]] = [sentence.words for sentence in table.sentences]
    model = load_encoder(encoder)
    length = min(longest or MAX_LENGTH, MAX_LENGTH)
    return embed_words(model, load_tokenizer(encoder), sentences, length)


def read_probabilities(path: Path, words: TaggedWords) -> Float[Tensor, "w c"]:
    """Read log probabilities of tags from a .npy file [words, tags].

    Columns are O, then B and I of each type in alphabetical order of the types.

    Raises:
        InputError: The file has another shape, or rows that are no probabilities.
    """
    names = ", ".join(list_tags(words.kinds, "BIO"))
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}", "a .npy file", f"{error}".splitlines()[0], "Save it with numpy.save."
        ) from error
    expected = (words.starts[-1], words.classes)
    is_valid = values.shape == expected and np.issubdtype(values.dtype, np.floating)
    if not is_valid or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(
            f"{path}",
            f"probabilities {list(expected)}, of words in order and of the tags {names}",
            f"shape {list(values.shape)}, type {values.dtype}",
            "Write one row a word, in the order of the file.",
        )
    if not np.allclose(values.sum(1), 1, atol=1e-2):
        raise InputError(f"{path}", "rows of sum 1", "other sums", "Apply the softmax.")
    return torch.tensor(values).double().clamp_min(1e-6).log()
