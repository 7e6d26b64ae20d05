"""Tables of a run with missing candidates, without a second text, with nonfinite numbers."""

import polars as pl
import pytest
import tiny
import torch

from fastif import Influences
from fastif.attribution.certificate import Certificate
from storage import polars_schema
from storage.schemas import SCORES, SOLVES
from tasks.audit.frames import make_scores_frame, make_solves_frame


def test_padding_of_the_index_is_dropped():
    influences = Influences(
        torch.tensor([[7, 3, -1], [5, -1, -1]]),
        torch.tensor([[-0.5, 0.25, torch.inf], [0.125, torch.inf, torch.inf]]),
        torch.tensor([[1.0, 2.0, 9.0], [0.5, 9.0, 9.0]]),
    )
    frame = make_scores_frame(torch.tensor([4, 2]), influences)
    assert frame.schema == polars_schema(SCORES)
    assert frame.rows() == [
        (4, 7, 0, -0.5, 1.0, None, None),
        (4, 3, 1, 0.25, 2.0, None, None),
        (2, 5, 0, 0.125, 0.5, None, None),
    ]


def test_a_full_scan_has_no_distance():
    frame = make_scores_frame(torch.tensor([0]), Influences(torch.tensor([[1]]), torch.ones(1, 1)))
    assert frame["distance"].to_list() == [None]


def test_nonfinite_numbers_are_null_and_reasons_are_kept():
    nothing, some = torch.tensor([0.5, torch.nan, torch.inf]), torch.tensor([0.1, 0.2, 0.3])
    known = Certificate(
        residual=nothing,
        full_residual=None,
        converged=torch.tensor([True, False, False]),
        steps=3,
        damping=0.1,
        spread=None,
        gradient_norm=nothing,
        solution_norm=some,
        gradient_cosine=nothing,
        score_correlation=torch.tensor([-0.995, torch.nan, 0.5], dtype=torch.float64),
        reasons=(None, "why", None),
        dropped=torch.tensor([0, 0, 2]),
        least_eigenvalue=0.05,
    )
    frame = make_solves_frame(torch.tensor([4, 2, 9]), known, "cg")
    assert frame.schema == polars_schema(SOLVES)
    rows = frame.to_dict(as_series=False)
    assert rows["residual"] == rows["gradient_norm"] == rows["gradient_cosine"] == [0.5, None, None]
    assert rows["full_residual"] == rows["spread"] == rows["agreement"] == [None] * 3
    assert rows["score_correlation"] == [pytest.approx(-0.995), None, 0.5]
    assert rows["resembles_gradient_product"] == [True, False, False]
    assert rows["least_eigenvalue"] == [0.05] * 3
    assert rows["reason"] == [None, "why", None]
    assert (rows["dropped"], rows["models"]) == ([0, 0, 2], [1, 1, 1])


@pytest.mark.long
def test_an_approximate_index_may_return_fewer_rows(world):
    candidates = {"kind": "knn", "k": 30, "factory": "IVF8,Flat"}
    store, run = tiny.run_directly(tiny.write_study(world, candidates=candidates))
    scores = store.scan("scores", run).collect()
    counts = scores.group_by("query").len()["len"]
    assert counts.min() > 0
    assert counts.max() < 30, "one of eight cells has fewer rows"
    ranks = scores.group_by("query").agg(pl.col("rank").sort(), pl.len())
    assert all(r == list(range(n)) for _, r, n in ranks.iter_rows())
    assert store.scan("train", run).collect()["text_pair"].null_count() == tiny.TRAIN
