"""Word embeddings against hidden states of one sentence at a time."""

import torch
from tagged_cases import SENTENCES, align, make_model, make_tokenizer

from fastif.wrong_spans.word_embeddings import embed_words


@torch.no_grad()
def embed_alone(words):
    """Mean hidden states of each word's sub-words, of middle and last layer."""
    encoder, tokenizer = make_model(dtype=torch.float32).bert, make_tokenizer()
    outputs = encoder(align(words, [0] * len(words))[0], output_hidden_states=True)
    hidden = torch.cat([outputs.hidden_states[1], outputs.last_hidden_state], 2)[0]
    rows, place = [], 1
    for word in words:
        count = len(tokenizer.tokenize(word))
        rows.append(hidden[place : place + count].mean(0))
        place += count
    return torch.stack(rows)


def test_words_are_embedded_in_their_sentence():
    encoder = make_model(dtype=torch.float32).bert
    actual = embed_words(encoder, make_tokenizer(), SENTENCES, 32)
    expected = torch.cat([embed_alone(words) for words in SENTENCES])
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_longer_sentence_is_read_in_halves_and_an_invisible_word_has_zeros():
    encoder = make_model(dtype=torch.float32).bert
    words = ["anna", "runs", "to", "paris", "the", "home", "\u200b"]
    actual = embed_words(encoder, make_tokenizer(), [words], 7)
    expected = torch.cat([embed_alone(words[:3]), embed_alone(words[3:6])])
    torch.testing.assert_close(actual[:6], expected, rtol=1e-4, atol=1e-5)
    assert not actual[6].any()
