"""Alignment of labels with sub-words, and examples of sentences, spans and words."""

import pytest
import torch
from tagged_cases import LABELS, PIECES, SENTENCES, align, make_tokenizer
from transformers import PreTrainedTokenizer

from fastif import InputError, all_ids
from fastif.data.encode_words import encode_words


@pytest.mark.parametrize("labelled", ["first", "all"])
def test_labels_are_those_of_an_alignment_word_by_word(labelled):
    rows = encode_words(make_tokenizer(), SENTENCES, LABELS, 32, labelled)
    batch = rows.take(all_ids(rows))
    for row, (words, labels) in enumerate(zip(SENTENCES, LABELS, strict=True)):
        ids, targets = align(words, labels, labelled)
        length = ids.shape[1]
        assert batch["input_ids"][row, :length].tolist() == ids[0].tolist()
        assert batch["attention_mask"][row].sum() == length
        slots = batch["slots"][row]
        given = torch.where(slots >= 0, batch["labels"][row][slots.clamp_min(0)], -100)
        assert given[:length].tolist() == targets.tolist()
        assert (given[length:] == -100).all()
    assert rows.unread_counts.sum() == 0
    assert not rows.truncated.any()


def test_truncated_words_are_counted_and_have_no_label():
    full, rows = (encode_words(make_tokenizer(), SENTENCES, LABELS, size) for size in (32, 6))
    assert rows.truncated.tolist() == [len(tokens) > 6 for tokens in full.tokens]
    read = [len(rows.list_words(place)) for place in range(len(rows))]
    total = [sum(label >= 0 for label in labels) for labels in LABELS]
    assert (rows.unread_counts + torch.tensor(read)).tolist() == [
        *total[:-1],
        1,
    ]  # the ignored word of the last one is read
    assert rows.unread_counts.sum() > 0
    with pytest.raises(InputError, match="maximum length"):
        rows.select_words([(4, [7])])


def test_a_word_without_any_sub_word_is_counted():
    rows = encode_words(make_tokenizer(), [["anna", "\u200b", "runs"]], [[1, 2, 0]], 32)
    assert rows.unread_counts.tolist() == [1]
    assert rows.list_words(0) == [0, 2]
    assert rows.labels.tolist() == [[1, 0]]
    assert not rows.truncated.any()


def test_words_and_spans_are_examples_of_the_same_tokens():
    rows = encode_words(make_tokenizer(), SENTENCES, LABELS, 32)
    words, spans = rows.split_words(), rows.select_words([(2, [1, 2]), (0, [3])])
    assert len(words) == sum(label >= 0 for labels in LABELS for label in labels)
    assert words.labels.shape[1] == 1
    assert spans.labels.tolist() == [[2, 0], [2, -100]]
    assert spans.sentence_ids.tolist() == [2, 0]
    assert spans.tokens[0] is rows.tokens[2]
    assert spans.select_words([(0, [2])]).labels.tolist() == [[0]]
    assert rows.mean_label_count == len(words) / 6


class _Slow(PreTrainedTokenizer):
    """A tokenizer in Python, which does not know the word of a sub-word."""

    @property
    def vocab_size(self):
        return 1

    def get_vocab(self):
        return {"a": 0}


@pytest.mark.parametrize(
    ("sentences", "labels", "match"),
    [
        ([[]], [[]], "list of words"),
        ([["anna"]], [[1, 0]], "1 words and 2 labels"),
        (["anna"], [[1, 1, 1, 1]], "a text"),
        ([["anna"], ["\u200b"]], [[1], [1]], "sentence 2"),
        ([["anna"], ["runs"]], [[1], [-100]], "sentence 2"),
        ([["anna"]], [[1], [1]], "labels"),
    ],
)
def test_sentences_without_a_loss_are_refused(sentences, labels, match):
    with pytest.raises(InputError, match=match):
        encode_words(make_tokenizer(), sentences, labels, 32)


def test_tokenizers_that_do_not_know_words_are_refused():
    with pytest.raises(InputError, match="slow"):
        encode_words(_Slow(), [["a"]], [[1]], 8)


def test_a_length_without_room_for_a_word_is_refused():
    with pytest.raises(InputError, match="sentences"):
        encode_words(make_tokenizer(), [["anna"]], [[1]], 2)


def test_unknown_words_are_the_unknown_token():
    rows = encode_words(make_tokenizer(), [["xyz"]], [[1]], 8)
    assert rows.tokens[0].tolist() == [2, PIECES.index("[UNK]"), 3]
