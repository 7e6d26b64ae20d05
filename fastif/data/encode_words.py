"""Alignment of word labels with sub-words, as token classification is trained on them."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from fastif.data.arrays import check_label_count
from fastif.data.examples import BATCH_SIZE
from fastif.data.tagged_sentences import TaggedSentences, WordPlaces
from fastif.errors import InputError

Labelled = Literal["first", "all"]
"""Sub-words of a word that carry its label: the first one, or all of them."""


def encode_words(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[int]],
    max_length: int,
    labelled: Labelled = "first",
    device: torch.device | str = "cpu",
    batch_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> TaggedSentences:
    """Tokenize sentences of words, truncated to `max_length` tokens, with a label for each word.

    A word behind the maximum length, or without any sub-word (such as one of invisible characters),
    has no loss. `TaggedSentences.unread_counts` counts them.

    Args:
        tokenizer: Hugging Face tokenizer that knows the word of a sub-word, a fast one.
        sentences: Words of each sentence.
        labels: Class number of each word, -100 for a word without a label.
        max_length: Largest number of tokens, including special tokens.
        labelled: Sub-words that carry the label, as in the training: "first" or "all".
        device: Device of the batches.
        batch_tokens: Largest number of tokens in a batch, including padding; None for no limit.
        batch_size: Number of sentences whose gradients are held at once.

    Raises:
        InputError: A sentence has no word, other numbers of words and labels, or none that is read;
            or the tokenizer is slow or reads no lists of words.

    Examples:
        >>> from transformers import BertTokenizerFast
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ann", "##a", "runs"]
        >>> tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
        >>> rows = encode_words(tokenizer, [["anna", "runs"]], [[1, 0]], max_length=8)
        >>> batch = rows.take(torch.tensor([0]))
        >>> batch["input_ids"].tolist(), batch["slots"].tolist(), batch["labels"].tolist()
        ([[2, 4, 5, 6, 3]], [[-1, 0, -1, 1, -1]], [[1, 0]])
    """
    _check_sentences(tokenizer, sentences, labels, labelled)
    encoded = _tokenize(tokenizer, sentences, max_length)
    word_ids = [encoded.word_ids(row) for row in range(len(sentences))]
    segments = encoded.get("token_type_ids")
    if segments is None or not any(any(row) for row in segments):
        segments = None
    else:
        segments = [torch.tensor(row) for row in segments]
    unread = [
        len(words) - len(set(ids) - {None}) for words, ids in zip(sentences, word_ids, strict=True)
    ]
    return TaggedSentences(
        [torch.tensor(row) for row in encoded["input_ids"]],
        segments,
        [_find_places(ids, labelled) for ids in word_ids],
        labels,
        unread,
        _find_truncated(tokenizer, sentences, word_ids, max_length),
        int(str(tokenizer.pad_token_id or 0)),
        "left" if tokenizer.padding_side == "left" else "right",
        device,
        batch_tokens,
        batch_size,
    )


def _find_places(word_ids: Sequence[int | None], labelled: Labelled) -> WordPlaces:
    """Return the sub-words that carry a label."""
    places, last = [], None
    for place, word in enumerate(word_ids):
        if word is not None and (labelled == "all" or word != last):
            places.append((place, word))
        last = word
    return places


def _find_truncated(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    word_ids: Sequence[Sequence[int | None]],
    max_length: int,
) -> list[bool]:
    """Return whether each sentence is longer than the maximum length."""
    full = [row for row, ids in enumerate(word_ids) if len(ids) >= max_length]
    truncated = [False] * len(sentences)
    if full:
        whole = tokenizer(
            [list(sentences[row]) for row in full], is_split_into_words=True, verbose=False
        )
        for row, tokens in zip(full, whole["input_ids"], strict=True):
            truncated[row] = len(tokens) > max_length
    return truncated


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], max_length: int
) -> Any:
    """Return the encoding of whole sentences.

    Raises:
        InputError: If the tokenizer reads no lists of words, or does not truncate.
    """
    try:
        encoded = tokenizer(
            [list(words) for words in sentences],
            is_split_into_words=True,
            truncation=True,
            max_length=max_length,
            verbose=False,
        )
    except Exception as error:  # byte-level tokenizers assert that they add a space
        raise InputError(
            f"tokenizer {type(tokenizer).__name__}",
            "a tokenizer that reads lists of words",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Load it with add_prefix_space=True, as in the training, and a max_length above its "
            "special tokens.",
        ) from error
    longest = max(map(len, encoded["input_ids"]), default=0)
    if longest > max_length:
        raise InputError(
            "[model] max_length",
            f"sentences that the tokenizer can truncate to {max_length} tokens",
            f"one of {longest} tokens",
            "Raise max_length.",
        )
    return encoded


def _check_sentences(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[int]],
    labelled: str,
) -> None:
    """Refuse a slow tokenizer, and sentences without words or with another number of labels."""
    if labelled not in ("first", "all"):
        raise InputError(
            "labelled", '"first" or "all"', repr(labelled), "State how the model was trained."
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {type(tokenizer).__name__}",
            "a fast tokenizer, which knows the word of each sub-word",
            "a slow one",
            "Save the tokenizer in the form of the library tokenizers (tokenizer.json).",
        )
    check_label_count(len(sentences), len(labels), "encode_words")
    for row, (words, given) in enumerate(zip(sentences, labels, strict=True)):
        if isinstance(words, str) or not words or len(words) != len(given):
            got = "a text" if isinstance(words, str) else f"{len(words)} words"
            raise InputError(
                f"sentence {row + 1}",
                "a list of words, with a label for each",
                f"{got} and {len(given)} labels",
                "Correct or remove the sentence.",
            )
