"""Tables of examples: batches, subsets and batch sizes."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from fastif import (
    Attributor,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Ekfac,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    TensorExamples,
    TextExamples,
    compute_embeddings,
    influence,
)
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from fastif.data.examples import BATCH_SIZE, Examples, WrappedExamples
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.models.prefix_cache import PrefixCache

COUNT = 7


def _rows(**options) -> TensorExamples:
    return TensorExamples(torch.arange(2.0 * COUNT).view(COUNT, 2), torch.arange(COUNT), **options)


def _texts(**options) -> TextExamples:
    tokens = [torch.ones(length, dtype=torch.long) for length in (3, 1, 2, 5, 2, 4, 1)]
    never = torch.zeros(COUNT, dtype=torch.bool)
    return TextExamples(tokens, None, torch.arange(COUNT), never, 0, **options)


class OwnExamples(Examples):
    """A user's subclass without a constructor."""

    def __len__(self):
        return COUNT

    def take(self, ids):
        return {"inputs": ids[:, None].float(), "labels": ids}


MADE = {"tensors": _rows, "texts": _texts, "own": OwnExamples}


def _take_sizes(examples: Examples) -> list[int]:
    return [len(batch["labels"]) for _, batch in examples.batches()]


@pytest.mark.parametrize("kind", MADE)
def test_with_batch_size_of_every_table(kind):
    examples = MADE[kind]()
    other = examples.with_batch_size(3)
    assert (examples.batch_size, other.batch_size) == (BATCH_SIZE, 3) == (32, 3)
    assert (_take_sizes(examples), _take_sizes(other)) == ([COUNT], [3, 3, 1])
    assert other.with_batch_size(3) is other
    ids = torch.tensor([4, 0, 4])
    for name, expected in examples.take(ids).items():
        assert torch.equal(other.take(ids)[name], expected)


@dataclass(frozen=True, eq=False)
class FrozenRows(Examples):
    """A user's subclass as a frozen dataclass."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    @property
    def lengths(self):
        return torch.ones(len(self), dtype=torch.long)

    def take(self, ids):
        return {"inputs": self.inputs[ids], "labels": self.labels[ids]}


def test_with_batch_size_of_a_frozen_dataclass():
    rows = FrozenRows(torch.arange(7.0)[:, None], torch.zeros(7, dtype=torch.long))
    other = rows.with_batch_size(3)
    assert (_take_sizes(rows), _take_sizes(other)) == ([7], [3, 3, 1])
    taken = torch.cat([batch["inputs"] for _, batch in other.batches()])
    assert torch.equal(taken, rows.inputs)


@pytest.mark.parametrize("of_curvature", [32, 8])
def test_curvature_and_attributor_may_have_different_batch_sizes(of_curvature):
    """Leverage and factor coefficients compare tables, not objects."""
    torch.manual_seed(0)
    rows = _rows()
    objective = ModuleObjective(torch.nn.Linear(2, COUNT), CrossEntropy())
    tables = rows.with_batch_size(of_curvature), rows.with_batch_size(3)

    def effects(examples, train):
        curvature = GaussNewton(objective, examples)
        assert curvature.compute_factor_coefficients(train) is not None
        attribution = Attributor(
            objective, train, curvature.with_damping(0.1), Direct(), ExhaustiveSearch(COUNT)
        )(rows)
        assert attribution.certificate.leverage == "on"
        return attribution.influences.removal_effect

    torch.testing.assert_close(effects(*tables), effects(rows, rows), rtol=1e-5, atol=1e-7)


def test_a_copy_with_other_labels_is_another_table():
    rows = _rows()
    resized = rows.with_batch_size(3)
    changed = copy.copy(resized)
    changed.labels = 1 - rows.labels
    assert resized.is_same_table(rows)
    assert not changed.is_same_table(rows)
    assert not RelabeledExamples(rows, rows.labels).is_same_table(rows)
    assert not rows.subset(torch.arange(COUNT)).is_same_table(rows)
    assert not OwnExamples().is_same_table(OwnExamples()), "their content is not known"


@pytest.mark.parametrize("make", [_rows, _texts])
def test_the_batch_size_is_a_constructor_argument(make):
    assert make(batch_size=5).batch_size == 5
    with pytest.raises(InputError, match="batch_size: expected a whole number of 1 or more"):
        make(batch_size=0)


@pytest.mark.parametrize("size", [0, -1, True])
def test_invalid_batch_sizes_are_refused(size):
    with pytest.raises(InputError, match="batch_size"):
        _rows().with_batch_size(size)


def _cache(examples: TensorExamples) -> PrefixCache:
    objective = ModuleObjective(torch.nn.Linear(2, COUNT), CrossEntropy())
    return PrefixCache(objective, examples, 0)


WRAPPERS = {
    "subset": lambda: _rows(batch_size=4).subset([1, 2]),
    "relabelled": lambda: RelabeledExamples(_rows(batch_size=4), torch.zeros(COUNT)),
    "equal lengths": lambda: _texts(batch_size=4).with_equal_lengths(),
    "other device": lambda: _texts(batch_size=4).to_device("cpu"),
    "cached": lambda: _cache(_rows(batch_size=4)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_keep_the_batch_size(name):
    wrapped = WRAPPERS[name]()
    other = wrapped.with_batch_size(2)
    assert (wrapped.batch_size, other.batch_size) == (4, 2)
    assert type(other) is type(wrapped)
    assert torch.equal(other.lengths, wrapped.lengths)


def test_a_subset_keeps_the_given_order():
    rows = _rows()
    subset = rows.subset([5, 0, 5])
    assert subset.take(torch.tensor([0, 1, 2]))["labels"].tolist() == [5, 0, 5]
    assert subset.subset([2, 1]).take(torch.tensor([1]))["labels"].tolist() == [0]
    with pytest.raises(InputError, match="positions from 0 to 6"):
        rows.subset([7])


def test_batches_hold_each_index_once_by_length():
    ids = torch.tensor([6, 3, 0, 5])
    places, widths = zip(
        *(
            (places.tolist(), batch["attention_mask"].sum(1).tolist())
            for places, batch in _texts(batch_size=2).batches(ids)
        ),
        strict=True,
    )
    assert places == ([1, 3], [2, 0])
    assert widths == ([5, 4], [3, 1])
    assert [len(p) for p in _texts(batch_size=2).length_buckets(ids, 3)] == [3, 1]


class Counted(WrappedExamples):
    """Other examples, with the batch sizes of `take`."""

    def __init__(self, examples):
        super().__init__(examples)
        self.sizes = []

    def take(self, ids):
        self.sizes.append(len(ids))
        return self.examples.take(ids)


def _scan(objective, examples):
    operator = GaussNewton(objective, examples).with_damping(0.1)
    search = ExhaustiveSearch(keep=1)
    Attributor(objective, examples, operator, ConjugateGradient(), search)(examples, [0, 1])


def _score_layers(objective, examples):
    s_test, ids = torch.ones(1, objective.space.size), torch.arange(len(examples))[None]
    blocks = ParameterBlocks.from_layers(objective.space)
    layerwise_influence(Gradients(objective), examples, s_test, ids, blocks)


TAKERS = {
    "loss gradients": lambda o, e: compute_loss_gradients(Gradients(o), e),
    "query gradients": lambda o, e: compute_measure_gradients(Gradients(o), e),
    "Gauss-Newton": lambda o, e: GaussNewton(o, e).apply(torch.ones(1, o.space.size)),
    "Hessian": lambda o, e: Hessian(o, e).apply(torch.ones(1, o.space.size)),
    "EK-FAC": lambda o, e: Ekfac.fit(GaussNewton(o, e)),
    "scores": lambda o, e: influence(Gradients(o), e, torch.ones(1, o.space.size)),
    "layers": _score_layers,
    "attributor": _scan,
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("size", [6, 7])
def test_gradients_are_computed_in_batches_of_the_table(taker, size):
    """The trial of a table reads five rows."""
    generator = torch.Generator().manual_seed(0)
    rows = TensorExamples(torch.randn(20, 2, generator=generator), torch.arange(20) % 3)
    examples = Counted(rows.with_batch_size(size))
    torch.manual_seed(0)
    TAKERS[taker](ModuleObjective(torch.nn.Linear(2, 3), CrossEntropy()), examples)
    assert max(examples.sizes) == size


def test_an_attributor_refuses_a_batch_size_with_a_remedy():
    rows = _rows()
    objective = ModuleObjective(torch.nn.Linear(2, COUNT), CrossEntropy())
    operator = GaussNewton(objective, rows).with_damping(0.1)
    attribute = Attributor(objective, rows, operator, Direct())
    assert replace(attribute, certify_rows=3).certify_rows == 3
    with pytest.raises(InputError, match=r"train = train.with_batch_size\(64\)"):
        Attributor(objective, rows, operator, Direct(), batch_size=64)
    with pytest.raises(TypeError, match="positional"):
        Attributor(objective, rows, operator, Direct(), ExhaustiveSearch(), None, 64)


def test_all_examples_by_default():
    rows = _rows()
    objective = ModuleObjective(torch.nn.Linear(2, COUNT), CrossEntropy())
    operator, gradients = GaussNewton(objective, rows).with_damping(0.1), Gradients(objective)
    attribute = Attributor(objective, rows, operator, Direct())
    for ask in (attribute, Ensemble([attribute, attribute])):
        given, implied = ask(rows, range(COUNT)).influences, ask(rows).influences
        assert torch.equal(given.ids, implied.ids)
        assert torch.equal(given.removal_effect, implied.removal_effect)
    ids = torch.arange(COUNT)
    for take in (compute_loss_gradients, compute_measure_gradients):
        assert torch.equal(take(gradients, rows), take(gradients, rows, ids))
    assert torch.equal(
        compute_embeddings(objective, rows), compute_embeddings(objective, rows, ids)
    )
