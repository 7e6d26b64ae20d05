"""Tokenized texts: truncation, padding, pairs, order."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from fastif import InputError, all_ids, encode

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(20))]
CLS, SEP, FIRST = 2, 3, 5


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})


def _text(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def test_a_batch_is_padded_to_its_longest_text(tokenizer):
    texts = [_text(0), _text(1, 2, 3), _text(4, 5)]
    examples = encode(tokenizer, texts, None, [1, 0, 2], 8)
    assert len(examples) == 3
    assert examples.lengths.tolist() == [3, 5, 4]
    batch = examples.take(torch.tensor([0, 1]))
    assert batch["input_ids"].tolist() == [[CLS, 5, SEP, 0, 0], [CLS, 6, 7, 8, SEP]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["labels"].tolist() == [1, 0]
    short = examples.take(torch.tensor([0]))
    assert short["input_ids"].tolist() == [[CLS, 5, SEP]]


@pytest.mark.parametrize(("longest", "cut"), [(3, [1, 2]), (4, [1]), (5, [])])
def test_truncated_texts_are_marked(tokenizer, longest, cut):
    texts = [_text(0), _text(1, 2, 3), _text(4, 5)]
    examples = encode(tokenizer, texts, None, [0, 0, 0], longest)
    assert examples.truncated.nonzero().flatten().tolist() == cut
    assert examples.lengths.tolist() == [min(n, longest) for n in (3, 5, 4)]
    assert all(row[0] == CLS and row[-1] == SEP for row in examples.tokens)  # also when cut


def test_a_pair_has_two_segments(tokenizer):
    examples = encode(tokenizer, [_text(0), _text(1)], [_text(2, 3), _text(4)], [0, 1], 16)
    batch = examples.take(torch.tensor([0, 1]))
    assert batch["input_ids"].tolist() == [
        [CLS, 5, SEP, 7, 8, SEP],
        [CLS, 6, SEP, 9, SEP, 0],
    ]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]


def test_a_long_pair_is_truncated_at_its_longer_text(tokenizer):
    examples = encode(tokenizer, [_text(*range(9))], [_text(19)], [0], 8)
    assert examples.truncated.tolist() == [True]
    assert examples.tokens[0].tolist() == [CLS, 5, 6, 7, 8, SEP, FIRST + 19, SEP]
    assert examples.segments[0].tolist() == [0] * 6 + [1] * 2


def test_an_empty_second_text_keeps_the_separators_of_a_pair(tokenizer):
    examples = encode(tokenizer, [_text(0), _text(*range(9))], ["", ""], [0, 1], 6)
    assert examples.truncated.tolist() == [False, True]
    assert [row.tolist() for row in examples.tokens] == [
        [CLS, 5, SEP, SEP],
        [CLS, 5, 6, 7, SEP, SEP],
    ]
    assert examples.take(torch.tensor([1]))["token_type_ids"].tolist() == [[0] * 5 + [1]]


def test_an_example_does_not_depend_on_its_batch(tokenizer):
    texts = [_text(*range(n)) for n in (1, 7, 3, 5)]
    examples = encode(tokenizer, texts, texts[::-1], [0, 1, 2, 3], 12)
    order = torch.tensor([2, 0, 3, 1, 2])
    batch = examples.take(order)
    for row, i in enumerate(order.tolist()):
        alone = examples.take(torch.tensor([i]))
        length = int(examples.lengths[i])
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            assert batch[name][row, :length].tolist() == alone[name][0].tolist()
            assert not batch[name][row, length:].any()
        assert batch["labels"][row] == i


def test_batches_hold_every_example_once_by_length(tokenizer):
    lengths = (1, 7, 3, 5, 7, 2)
    examples = encode(tokenizer, [_text(*range(n)) for n in lengths], None, list(range(6)), 12)
    ids = torch.tensor([5, 0, 1, 4, 3, 2])
    widths, all_places = [], []
    for places, batch in examples.batches(ids, 2):
        assert batch["labels"].tolist() == ids[places].tolist()
        all_places += places.tolist()
        widths.append(batch["input_ids"].shape[1])
    assert sorted(all_places) == [0, 1, 2, 3, 4, 5]
    assert widths == [9, 7, 4]


def test_an_empty_text_is_its_special_tokens(tokenizer):
    examples = encode(tokenizer, ["", _text(1)], None, [0, 1], 8)
    assert examples.tokens[0].tolist() == [CLS, SEP]
    assert examples.take(all_ids(examples))["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("longest", [2, 3, 4])
@pytest.mark.parametrize("texts", [(9, 1), (1, 9), (9, 9)])
def test_a_length_without_room_for_both_texts_of_a_pair_is_refused(tokenizer, texts, longest):
    """Below 3 special tokens the tokenizer does not truncate; at 3 no token of a text is left."""
    first, second = (_text(*range(count)) for count in texts)
    with pytest.raises(InputError, match=r"max_length: expected at least 5: 3 special tokens"):
        encode(tokenizer, [first], [second], [0], longest)
    examples = encode(tokenizer, [first], [second], [0], 5)
    kinds = [row[~torch.isin(row, torch.tensor([CLS, SEP]))].tolist() for row in examples.tokens]
    assert kinds == [[FIRST, FIRST]]


@pytest.mark.parametrize("longest", [1, 2])
def test_a_length_without_room_for_a_text_is_refused(tokenizer, longest):
    with pytest.raises(InputError, match="max_length: expected at least 3"):
        encode(tokenizer, [_text(1, 2)], None, [0], longest)
    assert encode(tokenizer, [_text(1, 2)], None, [0], 3).tokens[0].tolist() == [CLS, 6, SEP]


def test_texts_that_the_tokenizer_does_not_truncate_are_refused(tokenizer):
    class Whole(BertTokenizerFast):
        def __call__(self, *args, truncation=False, max_length=None, **keys):
            return super().__call__(*args, **keys)

    whole = Whole(vocab={word: i for i, word in enumerate(WORDS)})
    with pytest.raises(InputError, match="1 that it leaves longer, such as row 2"):
        encode(whole, [_text(0), _text(*range(9))], None, [0, 0], 8)


def test_a_text_without_tokens_is_refused():
    """A tokenizer without special tokens drops unknown characters."""
    model = WordLevel({"w1": 0}, unk_token="w1")
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), pad_token="w1")
    bare.backend_tokenizer.normalizer = Replace("?", "")
    with pytest.raises(InputError, match="none in 1 texts, such as row 2"):
        encode(bare, ["w1", "??"], None, [0, 0], 8)
