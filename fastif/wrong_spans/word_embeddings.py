"""Word embeddings: mean hidden states of a word's sub-words in its sentence."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fastif.models.model_inputs import select_model_inputs

TILE_TOKENS = 4096
"""Number of tokens in a forward pass, including padding."""


@torch.no_grad()
def embed_words(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    max_length: int,
) -> Float[Tensor, "w d"]:
    """Embed every word in its sentence: mean over its sub-words, middle and last layer.

    A sentence longer than the encoder is read in parts of half its length in words, so that every
    word is read. A word without sub-words has zeros.

    Args:
        encoder: Transformer without a head.
        tokenizer: Fast tokenizer of the encoder.
        sentences: Words of each sentence.
        max_length: Largest number of tokens.

    Returns:
        Embeddings of the words, sentence by sentence, [words, 2 d].

    Raises:
        InputError: The tokenizer does not know the words of sub-words.
    """
    encoder_device = next(encoder.parameters()).device
    parts = [part for words in sentences for part in _split(tokenizer, words, max_length)]
    starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
    total, order = None, sorted(range(len(parts)), key=lambda i: -len(parts[i]))
    for chunk in _group(order, parts):
        encoded = tokenizer(
            [list(parts[i]) for i in chunk],
            is_split_into_words=True,
            truncation=True,
            max_length=max_length,
            padding=True,
            return_tensors="pt",
        )
        outputs = encoder(
            **select_model_inputs(encoder, {k: t.to(encoder_device) for k, t in encoded.items()}),
            output_hidden_states=True,
        )
        middle = outputs.hidden_states[(len(outputs.hidden_states) - 1) // 2]
        hidden = torch.cat([middle, outputs.last_hidden_state], 2).float().cpu()
        if total is None:
            total = torch.zeros(int(starts[-1]), hidden.shape[2])
        for row, part in enumerate(chunk):
            places = encoded.word_ids(row)
            read = torch.tensor([place for place, word in enumerate(places) if word is not None])
            words = torch.tensor([word for word in places if word is not None], dtype=torch.long)
            _add_means(
                total, starts[part] + words, hidden[row, read] if len(read) else hidden[:0, 0]
            )
    return torch.zeros(0, 1) if total is None else total


def _add_means(total: Tensor, words: Tensor, hidden: Tensor) -> None:
    """Write the mean of the hidden states of each word."""
    if not len(words):
        return
    distinct, inverse, counts = words.unique(return_inverse=True, return_counts=True)
    sums = hidden.new_zeros(len(distinct), hidden.shape[1]).index_add_(0, inverse, hidden)
    total[distinct] = sums / counts[:, None]


def _split(
    tokenizer: PreTrainedTokenizerBase, words: Sequence[str], max_length: int
) -> Iterator[Sequence[str]]:
    """Split a sentence that is longer than the encoder into halves, until each part fits."""
    tokens = tokenizer([list(words)], is_split_into_words=True, verbose=False)["input_ids"][0]
    if len(tokens) <= max_length or len(words) == 1:
        yield words
        return
    middle = len(words) // 2
    yield from _split(tokenizer, words[:middle], max_length)
    yield from _split(tokenizer, words[middle:], max_length)


def _group(order: Sequence[int], parts: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    """Group parts of similar length, with a limit on the words including padding."""
    chunk: list[int] = []
    for part in order:
        if chunk and (len(chunk) + 1) * len(parts[chunk[0]]) * 2 > TILE_TOKENS:
            yield chunk
            chunk = []
        chunk.append(part)
    if chunk:
        yield chunk
