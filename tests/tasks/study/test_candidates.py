"""The `[candidates]` section: unions, quotas, targets of recall and ranks."""

import pytest

from tasks.study.candidates import FullScanSection, UnionSection
from tasks.study.index_sections import KnnSection, SketchSection
from tasks.study.study import Study, load_study
from tests.tasks.study.study_files import refusal, write_changed

SKETCH_AND_KNN = """of = [
  { kind = "sketch", k = 6, dimensions = 9 },
  { kind = "knn", k = 4, quota = 0.25 },
]"""


UNION = 'kind = "knn"\nk = 5', f'kind = "union"\n{SKETCH_AND_KNN}'


def test_a_union_and_its_quotas(tmp_path):
    study = load_study(write_changed(tmp_path, UNION))
    methods = (SketchSection(k=6, dimensions=9), KnnSection(k=4, quota=0.25))
    assert study.candidates == UnionSection(of=methods)
    assert study.candidates.methods == methods
    again = Study.model_validate_json(study.model_dump_json(), strict=True)
    assert again.model_dump() == study.model_dump()
    alone = load_study(write_changed(tmp_path, ("k = 5", "k = 5\nquota = 0.5")))
    assert alone.candidates.methods == (KnnSection(k=5, quota=0.5),)


BAD_UNIONS = {
    "one": (SKETCH_AND_KNN, 'of = [{ kind = "knn", k = 1 }]', "of", "2 or more", "add"),
    "none": (SKETCH_AND_KNN, "", "of", "two or more", "add of"),
    "kind": ('"sketch"', '"skech"', "of[1] kind", "knn, sketch", 'did you mean "sketch"?'),
    "full": ('"sketch"', '"full"', "of[1] kind", "one of knn, sketch", 'write "sketch"'),
    "key": ("dimensions", "dimension", "of[1] dimension", "width", 'mean "dimensions"?'),
    "key of the other": ('"knn", k', '"knn", width = 3, k', "of[2] width", "factory", "remove"),
    "range": ("k = 4", "k = 0", "of[2] k", ">= 1", "range"),
    "no k": ("k = 6, ", "", "of[1] k", "candidates per query", "add k"),
    "check": ("k = 6", "k = 6, check = 3", "of[1] check", "no such key", "next to of"),
    "target": ("k = 6", "target_recall = 0.9", "of[1] target_recall", "in a union", "its k"),
    "quota": ("0.25", "0.6", "of[2] quota", "at most 1 / 2", "0.5 or less"),
}


@pytest.mark.parametrize("case", BAD_UNIONS.values(), ids=list(BAD_UNIONS))
def test_a_bad_union_is_named_entry_by_entry(tmp_path, case):
    old, new, key, expected, change = case
    (problem,) = refusal(write_changed(tmp_path, UNION, (old, new))).problems
    assert problem.where == f"[candidates] {key}"
    assert expected in problem.expected
    assert change in problem.remedy


@pytest.mark.parametrize(
    ("quota", "expected", "change"),
    [
        ("0.51", "at most 1 / 2", "0.5 or less"),
        ("0.1", "at least 1 / k = 0.2", "raise it"),
        ("0", "> 0", "range"),
        ("1.5", "<= 1", "range"),
        ('"half"', "a number", "write"),
    ],
)
def test_quotas_that_cannot_be_kept_are_refused(tmp_path, quota, expected, change):
    (problem,) = refusal(write_changed(tmp_path, ("k = 5", f"k = 5\nquota = {quota}"))).problems
    assert problem.where == "[candidates] quota"
    assert expected in problem.expected
    assert change in problem.remedy


def test_a_target_recall_replaces_k(tmp_path):
    study = load_study(write_changed(tmp_path, ("k = 5", "target_recall = 0.95\nquota = 0.1")))
    assert study.candidates == KnnSection(target_recall=0.95, quota=0.1)


@pytest.mark.parametrize(
    ("keys", "where", "expected", "change"),
    [
        ("k = 5\ntarget_recall = 0.9", "target_recall", "no such key with k", "or k"),
        ("", "k", "candidates per query", "or target_recall = 0.95"),
        ("target_recall = 0", "target_recall", "> 0", "range"),
        ("target_recall = 95", "target_recall", "<= 1", "range"),
        ('target_recall = "most"', "target_recall", "a number", "without quotes"),
        ("target_recall = 0.9\nquota = 0.6", "quota", "at most 1 / 2", "0.5 or less"),
    ],
)
def test_invalid_target_recalls_are_refused(tmp_path, keys, where, expected, change):
    (problem,) = refusal(write_changed(tmp_path, ("k = 5", keys))).problems
    assert problem.where == f"[candidates] {where}"
    assert expected in problem.expected
    assert change in problem.remedy


def test_a_scan_with_queries_of_a_rank(tmp_path):
    full = ("k = 5", "rank = 3"), ('"knn"', '"full"')
    assert load_study(write_changed(tmp_path, *full)).candidates == FullScanSection(rank=3)
    both = ("k = 5", 'rank = 3\nprecision = "bfloat16"'), ('"knn"', '"full"')
    (problem,) = refusal(write_changed(tmp_path, *both)).problems
    assert problem.where == "[candidates] rank"
    assert "bfloat16" in problem.expected
