"""Selection of the candidate method: exact before approximate, within the time limit."""

import pytest

from tasks.run.method_choice import (
    FULL,
    KNN,
    SKETCH,
    SKETCH_ONLY,
    MethodEstimate,
    select_method,
)
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import KnnSection, SketchSection

SECTIONS = {
    FULL: FullScanSection(),
    SKETCH: SketchSection(target_recall=0.95),
    SKETCH_ONLY: SketchSection(k=200, rescore=False),
    KNN: KnnSection(k=10),
}


def offers(lacks: dict[str, str] | None = None, **seconds: float) -> list[MethodEstimate]:
    times = {name.replace("_", " "): time for name, time in seconds.items()}
    lacks = lacks or {}
    return [
        MethodEstimate(name, SECTIONS[name], time, lacks=lacks.get(name, ""))
        for name, time in times.items()
    ]


@pytest.mark.parametrize(
    ("seconds", "minutes", "taken"),
    [
        ({"full": 10, "sketch": 10, "knn": 1}, None, FULL),
        ({"full": 9, "sketch": 10, "knn": 1}, 1, FULL),
        ({"full": 900, "sketch": 100, "knn": 1}, None, SKETCH),
        ({"full": 900, "sketch": 100, "sketch_alone": 2, "knn": 1}, None, SKETCH),
        ({"full": 900, "sketch": 100, "sketch_alone": 2, "knn": 1}, 2, SKETCH),
        ({"full": 900, "sketch": 100, "sketch_alone": 2, "knn": 1}, 1, SKETCH_ONLY),
        ({"full": 900, "sketch": 100, "sketch_alone": 90, "knn": 50}, 1, KNN),
        ({"full": 900, "sketch": 100, "knn": 50}, 1, KNN),
        ({"full": 100, "sketch": 900, "knn": 50}, 2, FULL),
    ],
)
def test_preference_is_full_scan_then_sketches_then_knn_within_the_limit(seconds, minutes, taken):
    choice = select_method(offers(**seconds), minutes)
    assert choice is not None
    assert (choice.name, choice.fits) == (taken, True)
    assert choice.selected.candidates == SECTIONS[taken]


def test_the_fastest_method_is_selected_and_marked_if_none_fits():
    choice = select_method(offers(full=900, sketch=100, knn=500), 1)
    assert choice is not None
    assert (choice.name, choice.fits) == (SKETCH, False)
    assert "1 min" in choice.reason


def test_unavailable_methods_are_never_selected():
    lacks = {SKETCH: "needs a damping > 0"}
    choice = select_method(offers(lacks, full=900, sketch=1, knn=5), 60)
    assert choice is not None
    assert choice.name == FULL
    assert lacks[SKETCH] in choice.reason
    near = select_method(offers(lacks, full=900, sketch=1, knn=5), 1)
    assert near is not None
    assert near.name == KNN
    assert (
        select_method(offers({FULL: "a", SKETCH: "b", KNN: "c"}, full=1, sketch=1, knn=1)) is None
    )
    bound = select_method(offers({FULL: "it needs 9 MB of disk"}, full=1, sketch=3, knn=2))
    assert bound is not None
    assert bound.name == SKETCH
    assert "9 MB" in bound.reason
