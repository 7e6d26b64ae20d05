"""Batches that are read ahead: the same ones in the same order, few of them, with their errors."""

import copy
import pickle
import threading

import pytest
import torch

from fastif import InputError, TextExamples, all_ids
from fastif.data.lookahead import MAX_BATCHES, Lookahead

COUNT, SIZE = 23, 4


def _texts(is_enabled: bool, seed: int = 0) -> TextExamples:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (COUNT,), generator=generator).tolist()
    tokens = [torch.randint(1, 50, (length,), generator=generator) for length in lengths]
    labels, cut = torch.arange(COUNT), torch.zeros(COUNT, dtype=torch.bool)
    texts = TextExamples(tokens, None, labels, cut, 0, batch_size=SIZE)
    texts.lookahead = Lookahead("cpu", is_enabled)
    return texts


class Recorded:
    """Function that reads batches and records by which thread, at most some of them at once."""

    def __init__(self, texts: TextExamples) -> None:
        self.threads: list[int] = []
        self.read = texts._collate
        texts._collate = self

    def __call__(self, ids):
        self.threads.append(threading.get_ident())
        return self.read(ids)


def _assert_same(actual, expected):
    for (places, batch), (others, other) in zip(actual, expected, strict=True):
        assert torch.equal(places, others)
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: t.subset(torch.arange(COUNT).flip(0))])
def test_batches_that_are_read_ahead_are_the_same_in_the_same_order(wrap):
    ahead, straight = _texts(True), _texts(False)
    recorded = Recorded(ahead)
    _assert_same(list(wrap(ahead).batches()), list(wrap(straight).batches()))
    own = recorded.threads.count(threading.get_ident())
    assert own == 1, "only the first batch was not announced"
    assert len(recorded.threads) == -(-COUNT // SIZE), "a batch was read twice"
    assert not ahead.lookahead._pending


def test_a_batch_is_read_while_the_one_before_is_used():
    texts, is_read = _texts(True), threading.Event()
    read = texts._collate

    def collate(ids):
        is_next = threading.current_thread() is not threading.main_thread()
        batch = read(ids)
        if is_next:
            is_read.set()
        return batch

    texts._collate = collate
    next(texts.batches())
    assert is_read.wait(20), "the next batch is not read before it is taken"


def test_an_error_of_the_thread_is_raised_where_its_batch_is_taken():
    texts = _texts(True)
    read, taken = texts._collate, []

    def collate(ids):
        if 7 in ids.tolist():
            raise InputError("text", "a text", "none", "Remove this row.")
        return read(ids)

    texts._collate = collate
    with pytest.raises(InputError, match="Remove this row"):
        taken.extend(places for places, _ in texts.batches(torch.arange(COUNT)))
    straight = list(_texts(False).length_buckets())
    failed = next(i for i, places in enumerate(straight) if 7 in places.tolist())
    assert failed > 1
    assert len(taken) == failed
    texts._collate = read
    _assert_same(list(texts.batches()), list(_texts(False).batches()))


def test_a_sweep_that_stops_early_leaves_few_batches_and_no_wrong_one():
    texts = _texts(True)
    for _ in range(5):
        next(texts.batches(size=3))
        assert len(texts.lookahead._pending) <= MAX_BATCHES
    for ids in torch.arange(COUNT).split(5):
        texts.announce(ids)
    assert len(texts.lookahead._pending) == MAX_BATCHES
    _assert_same(list(texts.batches()), list(_texts(False).batches()))


def test_copies_have_nothing_read_ahead_and_the_same_rows():
    texts = _texts(True)
    texts.announce(torch.arange(3))
    for other in (copy.deepcopy(texts), pickle.loads(pickle.dumps(texts))):
        assert not other.lookahead._pending
        assert torch.equal(other.take(torch.arange(3))["labels"], torch.arange(3))
    assert texts.to_device("cpu").lookahead is not texts.lookahead
    assert texts.with_batch_size(2).is_same_table(texts)


def test_nothing_is_read_ahead_where_the_host_computes():
    texts = _texts(False).to_device("cpu")
    recorded = Recorded(texts)
    list(texts.batches(all_ids(texts)))
    assert set(recorded.threads) == {threading.get_ident()}
