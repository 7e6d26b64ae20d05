"""Searches in an attribution: batch sizes of queries, and unions of searches."""

import pytest
import torch
from cases import case

import fastif
from fastif import (
    Attributor,
    CandidateIndex,
    Direct,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    NearestNeighbors,
    SketchSearch,
)
from fastif.candidates import (
    GradientSketcher,
    UnionSearch,
    compute_embeddings,
    compute_train_sketches,
)
from fastif.data.examples import ExampleSubset, all_ids


class _Counted(ExampleSubset):
    """A full subset of other examples, which records the batch sizes of `take`."""

    def __init__(self, examples):
        super().__init__(examples, all_ids(examples))
        self.sizes = []

    def take(self, ids):
        self.sizes.append(len(ids))
        return super().take(ids)


def _make_searches(made, curvature):
    rows = compute_embeddings(made.objective, made.train)
    sketcher = GradientSketcher.fit(curvature, 0.1, dimensions=8, width=64)
    sketches = compute_train_sketches(sketcher, curvature.gradients, made.train)
    return {
        "nearest": NearestNeighbors(CandidateIndex.build(rows), 3),
        "sketched": SketchSearch(CandidateIndex.build(sketches, products=True), sketcher, 4),
    }


@pytest.mark.parametrize("kind", ["nearest", "sketched"])
def test_queries_are_read_in_batches_of_their_size(kind):
    made = case("mlp")
    curvature = GaussNewton(made.objective, made.train)
    search, results = _make_searches(made, curvature)[kind], []
    for size in (2, len(made.train)):
        queries = _Counted(made.train.with_batch_size(size))
        attribute = Attributor(
            made.objective, made.train, curvature.with_damping(0.1), Direct(), search
        )
        results.append(attribute(queries, all_ids(queries)).influences.ids.sort(1).values)
        assert max(queries.sizes) == size
    assert torch.equal(*results)


def test_a_union_scores_each_candidate_once_and_exactly():
    made = case("mlp", batch_size=4)
    curvature = GaussNewton(made.objective, made.train)
    parts, ids = _make_searches(made, curvature), all_ids(made.train)

    def attribute_with(search):
        attribute = Attributor(
            made.objective, made.train, curvature.with_damping(0.1), Direct(), search
        )
        return attribute(made.train, ids).influences

    both, full = (
        attribute_with(UnionSearch(list(parts.values()))),
        attribute_with(ExhaustiveSearch()),
    )
    alone = [attribute_with(search) for search in parts.values()]
    for query in range(len(ids)):
        rows = [
            influences.ids[query][influences.ids[query] >= 0].tolist()
            for influences in (both, *alone)
        ]
        assert sorted(rows[0]) == sorted(set(rows[1]) | set(rows[2]))
        exact = dict(zip(full.ids[query].tolist(), full.removal_effect[query], strict=True))
        for row, effect in zip(rows[0], both.removal_effect[query], strict=False):
            assert effect == pytest.approx(float(exact[row]), rel=1e-5, abs=1e-9)
    with pytest.raises(InputError, match="one method or more"):
        UnionSearch([])


def test_the_union_can_still_be_imported_from_the_package():
    assert fastif.UnionSearch is UnionSearch
    del fastif.UnionSearch  # held since its first use; it is no export
    assert "UnionSearch" not in fastif.__all__
