"""Out-of-memory recovery: work is halved until it fits, with equal results."""

import mmap
import subprocess
import sys

import pytest
import torch
from cases import case

from fastif import (
    Attributor,
    CandidateIndex,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    NearestNeighbors,
)
from fastif.candidates import compute_embeddings
from fastif.data.examples import (
    ExampleSubset,
    TensorExamples,
    all_ids,
)
from fastif.numerics.out_of_memory import is_out_of_memory, split_on_oom

DAMPING = 0.1


class Scarce(ExampleSubset):
    """Examples on a machine with memory for `limit` of them."""

    def __init__(self, examples, limit, error=torch.OutOfMemoryError):
        super().__init__(examples, all_ids(examples))
        self.limit, self.error, self.refused = limit, error, 0

    def take(self, ids):
        if len(ids) > self.limit:
            self.refused += 1
            raise self.error("injected: can't allocate memory")
        return super().take(ids)


def _attribute(made, train, queries, nearest, models=1):
    curvature = GaussNewton(
        made.objective, made.train
    )  # only the training set is short of memory here
    search = ExhaustiveSearch(3)
    if nearest:
        rows = compute_embeddings(made.objective, made.train)
        search = NearestNeighbors(CandidateIndex.build(rows), 6)
    operator = curvature.with_damping(DAMPING)
    attributor = Attributor(made.objective, train, operator, Dual(), search, leverage="off")
    slices = torch.arange(len(queries)) % 2
    return Ensemble([attributor] * models)(queries, all_ids(queries), slices)


def _check_same(actual, expected):
    assert torch.equal(actual.influences.ids, expected.influences.ids)
    torch.testing.assert_close(
        actual.influences.removal_effect, expected.influences.removal_effect, rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(actual.certificate.residual, expected.certificate.residual)
    assert actual.certificate.reasons == expected.certificate.reasons
    assert (actual.totals is None) == (expected.totals is None)
    if expected.totals is not None:
        torch.testing.assert_close(actual.totals.effects, expected.totals.effects)


@pytest.mark.parametrize(
    ("limit", "error"),
    [(1, torch.OutOfMemoryError), (3, torch.OutOfMemoryError), (3, MemoryError), (3, RuntimeError)],
)
@pytest.mark.parametrize("nearest", [False, True])
def test_a_training_batch_that_does_not_fit_is_halved(limit, nearest, error):
    made = case("mlp", 12, 8)
    queries = made.train.subset(torch.tensor([1, 4, 6]))
    scarce = Scarce(made.train, limit, error)
    expected = _attribute(made, made.train, queries, nearest)
    actual = _attribute(made, scarce, queries, nearest)
    assert scarce.refused > 0
    _check_same(actual, expected)


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("nearest", [False, True])
def test_queries_that_do_not_fit_are_halved(nearest, models):
    made = case("mlp", 12, 8)
    queries = made.train.subset(torch.tensor([1, 4, 6, 2, 9]))
    scarce = Scarce(queries, 2)
    expected = _attribute(made, made.train, queries, nearest, models)
    actual = _attribute(made, made.train, scarce, nearest, models)
    assert scarce.refused > 0
    _check_same(actual, expected)


def test_other_errors_and_single_examples_raise():
    def never(ids):
        raise torch.OutOfMemoryError("too large")

    def wrong(ids):
        raise RuntimeError("shapes do not match")

    with pytest.raises(torch.OutOfMemoryError):
        list(split_on_oom(never, torch.arange(4)))
    with pytest.raises(RuntimeError, match="shapes"):
        list(split_on_oom(wrong, torch.arange(4)))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_the_cpu_allocator_error_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


class Measured(TensorExamples):
    def __init__(self, lengths, tokens):
        super().__init__(torch.zeros(len(lengths), 1), torch.zeros(len(lengths)))
        self._measured, self._tokens = torch.tensor(lengths), tokens

    @property
    def lengths(self):
        return self._measured

    @property
    def batch_tokens(self):
        return self._tokens


def test_batches_respect_the_token_budget():
    lengths = [3, 50, 1, 8, 8, 2, 9, 1]
    examples = Measured(lengths, tokens=16)
    batches = [places.tolist() for places in examples.length_buckets(size=4)]
    assert batches == [[1], [6], [3, 4], [0, 5, 2, 7]]
    free = Measured(lengths, tokens=None)
    assert [len(p) for p in free.length_buckets(size=3)] == [3, 3, 2]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc caches freed memory")
def test_freed_memory_returns_to_the_system():
    """Measured from outside: resident pages of the process, with a block in use above them."""
    program = """
import sys, torch
from pathlib import Path
from fastif.numerics.out_of_memory import release_to_os
def pages(): return int(Path("/proc/self/statm").read_text().split()[1])
many = [torch.ones(20_000) for _ in range(5_000)]  # each below what is mapped by itself
above = torch.ones(100)
full = pages()
del many
before = pages()
release_to_os()
print(full, before, pages())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    full, _, after = map(int, done.stdout.split())
    assert (full - after) * mmap.PAGESIZE > 300e6  # of the 400 MB
