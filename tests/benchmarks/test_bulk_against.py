"""Summary of the seconds of the sides, and the order of their scores."""

from dataclasses import replace

import pytest
import torch

import fastif
from benchmarks.bulk.against_report import build_pages
from benchmarks.bulk.agreement import correlation
from benchmarks.bulk.ratios import seconds, summarise
from benchmarks.bulk.sides.ours import in_order
from benchmarks.bulk.sides.registry import SIDES
from benchmarks.bulk.sides.residuals import read_query_ids
from benchmarks.bulk.sides.sizes import FULL, Sizes

SIZES = Sizes(rows=10, queries=4, rounds=2, solved=2, scored=5, few=2)
BLANK = {"facts": {}, "loaded_mb": 1.0, "peak_mb": 2.0, "load": [0.1, 0.2]}


def turn(**parts: float) -> dict:
    """Report of a side with these wall seconds and twice as many CPU seconds."""
    return {"parts": {k: {"wall": s, "cpu": 2 * s} for k, s in parts.items()}, **BLANK}


def full_raw() -> dict[str, list[dict]]:
    ours = [turn(prefix=1.0, factor=2.0, answer=1.0), turn(prefix=0.0, factor=1.0, answer=1.0)]
    return {
        "published": [turn(s_test=20.0, score=0.5), turn(s_test=40.0, score=0.5)],
        "exact": ours,
        "ekfac": [turn(prefix=9.0, factor=1.0, answer=1.0)],
        "kronfluence": [turn(factor=4.0, answer=4.0)],
        "dattri-cg": [turn(one=3.0, few=7.0)],
        "captum-arnoldi": [{"failure": "MemoryError: none | left"}],
    }


def test_the_published_method_is_extrapolated_to_all_queries_and_rows():
    # A query: an s_test of 10 s and 10 candidates of 0.1 s.
    assert seconds("published", turn(s_test=20.0, score=0.5), SIZES, "wall") == pytest.approx(44)
    assert seconds("published", turn(s_test=20.0, score=0.5), SIZES, "cpu") == pytest.approx(88)


def test_seconds_of_a_cg_query_are_the_difference_of_few_and_one():
    assert seconds("dattri-cg", turn(one=3.0, few=7.0), SIZES, "wall") == pytest.approx(3 + 3 * 2)


def test_frozen_layers_count_against_the_published_method_alone():
    ratios = {ratio["side"]: ratio for ratio in summarise(full_raw(), SIZES)["ratios"]}
    assert ratios["published"]["wall"]["least"] == pytest.approx(44 / 4)
    assert ratios["published"]["wall"]["most"] == pytest.approx(84 / 2)
    assert ratios["kronfluence"]["wall"]["median"] == pytest.approx(8 / 2)
    assert ratios["kronfluence"]["reached"]
    assert not ratios["published"]["reached"]


def test_a_failed_side_has_a_reason_and_no_ratio():
    summary = summarise(full_raw(), SIZES)
    assert summary["failures"] == {"captum-arnoldi": "MemoryError: none | left"}
    assert "captum-arnoldi" not in {ratio["side"] for ratio in summary["ratios"]}


def test_every_side_is_compared_with_a_fastif_side():
    for side in SIDES.values():
        assert all(SIDES[ours].package == "fastif" for ours in side.against)
        assert side.description.format(**FULL.__dict__)


def test_the_published_method_solves_other_queries_in_every_round():
    sizes = replace(FULL, rounds=3, solved=2)
    picked = [i for turn in range(3) for i in read_query_ids(sizes, turn)]
    assert len(set(picked)) == 6
    assert max(picked) < sizes.queries


def test_scores_are_in_row_order():
    influences = fastif.Influences(torch.tensor([[2, 0, 1]]), torch.tensor([[-1.0, 0.5, 3.0]]))
    assert in_order(influences).tolist() == [[0.5, 3.0, -1.0]]


def test_correlation_is_that_of_pearson():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 3, 20, generator=generator)
    for row, (a, b) in enumerate(zip(left, right, strict=True)):
        expected = torch.corrcoef(torch.stack([a, b]))[0, 1]
        assert float(correlation(left, right)[row]) == pytest.approx(float(expected), abs=1e-6)


def test_the_page_has_failures_missing_sides_and_unreached_goals():
    raw, alike = full_raw(), {"median": 0.98765, "least": 0.9}
    result = {
        "sizes": SIZES.__dict__,
        **summarise(raw, SIZES),
        "raw": raw,
        "residuals": {
            at: {"fastif, exact": {"Gauss-Newton": [1e-6], "Hessian": [0.1, 0.2]}}
            for at in ("paper", "ours")
        }
        | {"scale_at_ours": 1000.0},
        "agreement": [
            {"sides": ("ekfac", "kronfluence"), "pearson": alike, "spearman": alike},
        ],
        "missing": ["last-layer"],
        "versions": {},
        "machine": {
            "date": "2026-01-01", "processor": "x", "cores": 2, "versions": {"torch": "2"},
        },
    }  # fmt: skip
    (page,) = build_pages(result)
    text = page.render()
    assert "none / left" in text
    assert "| fastif, EK-FAC | kronfluence, EK-FAC | 0.9877 (0.9000) | 0.9877 (0.9000) |" in text
    assert "Not measured yet: fastif, last layer." in text
    assert "**not reached**" in text
