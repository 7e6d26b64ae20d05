"""Random audit samples: selection, pooling, and rows added or removed since, with known errors."""

import numpy as np
import polars as pl
import pytest
import torch

from fastif.mislabels.audit_sample import MIN_AUDITED, NO_UNIT, UNKNOWN
from fastif.mislabels.random_audit import RandomAudit
from tasks.data.row_hashes import row_digest
from tasks.mislabels.group_errors import count_group_errors
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.stored_samples import DESIGN, SampledRow, StoredSample, make_simple_design

SOURCE = "group_source"


def content(i: int) -> bytes:
    return int(i).to_bytes(16, "big")


def row(i: int) -> bytes:
    return row_digest(content(i), "cat")


def make_sample(population, selected, size=None, source=None) -> StoredSample:
    """A simple random sample, or one with a size for each row."""
    rows = {"content": [content(i) for i in population], "label": ["cat"] * len(population)}
    frame = make_simple_design(pl.DataFrame(rows))
    if size is not None:
        sizes = [float(size(i)) for i in population]
        strata = np.unique(sizes, return_inverse=True)[1]
        frame = frame.with_columns(size=pl.Series(sizes), stratum=pl.Series(strata))
    if source is not None:
        frame = frame.with_columns(pl.Series(SOURCE, [source(i) for i in population]))
    return StoredSample(frame, tuple(SampledRow(content(i), "cat", 0.1) for i in selected))


def draw(random, rows, count, size=lambda i: 1.0):
    """Successive draws in proportion to size."""
    waiting = {i: random.exponential() / size(i) for i in rows}
    return sorted(waiting, key=waiting.get)[:count]


def make_annotations(samples, wrong, without=(), others=()) -> Annotations:
    """Annotations of every sampled row, without some, and of other rows."""
    rows = [int.from_bytes(item.content, "big") for stored in samples for item in stored.selected]
    sampled = set(rows) - set(without)
    agreed = {row(i): "dog" if i in wrong else "cat" for i in sampled | set(others)}
    return Annotations(agreed, labels=dict.fromkeys(agreed, "cat"),
                    audited=frozenset(map(row, sampled)), samples=samples)  # fmt: skip


def make_audit(annotations, rows, wrong):
    """Audit of the current rows, and the sample that it uses."""
    digests, contents = [row(i) for i in rows], [content(i) for i in rows]
    sample = select_random_sample(annotations, digests)
    audited = sample.locate_rows(digests, contents, ["cat", "dog"])
    reviewed = torch.tensor([digest in annotations.agreed for digest in digests])
    is_wrong = torch.tensor([i in wrong for i in rows])
    labels, prior_error = torch.zeros(len(rows), dtype=torch.long), torch.full((len(rows),), 0.1)
    return RandomAudit(audited, labels, prior_error, reviewed, reviewed & is_wrong), sample


def count_covered(simulate, trials=8) -> int:
    """Number of intervals that contain the true number of wrong rows."""
    inside = 0
    for seed in range(trials):
        audit, truth = simulate(np.random.default_rng(seed))
        errors = audit.estimate_errors()
        inside += errors.low <= truth <= errors.high
    return inside


def test_rows_added_after_the_sample_are_not_covered():
    """60 of 250 rows with 4 % errors are sampled; then 250 rows with 45 % errors are added."""
    random = np.random.default_rng(0)
    wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
    samples = [make_sample(range(250), draw(random, range(250), 60))]
    audit, _ = make_audit(make_annotations(samples, wrong), range(500), wrong)
    assert int(audit.is_later.sum()) == 250
    errors = audit.estimate_errors()
    assert errors.low <= sum(i < 250 for i in wrong) <= errors.high < 125


def test_a_later_sample_covers_added_rows():
    def simulate(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        first = make_sample(range(250), draw(random, range(250), 60))
        left = [i for i in range(500) if row(i) not in first.sampled_rows]
        second = make_sample(left, draw(random, left, 60))
        audit, sample = make_audit(make_annotations([first, second], wrong), range(500), wrong)
        assert not audit.is_later.any()
        assert len(sample.rows) == 60
        return audit, len(wrong)

    assert count_covered(simulate) >= 5


def test_samples_of_the_same_rows_are_pooled_with_their_own_sizes():
    """The second sample has other sizes, after a review of rows outside of the first."""

    def second_size(i):
        return 3.0 if i % 4 == 0 else 1.0

    def simulate(random):
        wrong = {i for i in range(300) if random.random() < (0.5 if i % 4 == 0 else 0.1)}
        chosen = draw(random, range(300), 40)
        others = [i for i in range(300) if i not in chosen][:30]
        left = [i for i in range(300) if i not in chosen and i not in others]
        samples = [
            make_sample(range(300), chosen),
            make_sample(left, draw(random, left, 40, second_size), second_size),
        ]
        annotations = make_annotations(samples, wrong, others=others)
        audit, sample = make_audit(annotations, range(300), wrong)
        assert len(sample.rows) == 80
        assert len(sample.population) == 300
        return audit, len(wrong)

    assert count_covered(simulate) >= 5


def test_a_small_later_sample_does_not_replace_a_large_one():
    samples = [make_sample(range(250), range(80)), make_sample(range(80, 260), range(250, 255))]
    sample = select_random_sample(make_annotations(samples, set()), [row(i) for i in range(260)])
    assert len(sample.rows) == 80  # the five alone are too few, and the ten rows came later
    assert len(sample.population) == 250


@pytest.mark.parametrize("for_annotations", [True, False])
def test_intervals_cover_after_rows_are_removed_for_either_reason(for_annotations):
    """Rows removed for their annotations, or with a source; the interval covers those left."""

    def simulate(random):
        wrong = {i for i in range(400) if random.random() < (0.1 if i < 200 else 0.5)}
        samples = [make_sample(range(400), draw(random, range(400), 80))]
        sampled = {i for i in range(400) if row(i) in samples[0].sampled_rows}
        gone = sampled & wrong if for_annotations else set(range(200, 400))
        left = [i for i in range(400) if i not in gone]
        audit, sample = make_audit(make_annotations(samples, wrong), left, wrong)
        assert (sample.gone == 0) == for_annotations
        assert bool(audit.audited.unclear.any()) != for_annotations
        return audit, sum(i in wrong for i in left)

    assert count_covered(simulate) >= 5


def test_skipped_rows_are_counted_and_rows_at_the_end_were_not_reached():
    samples = [make_sample(range(100), range(60))]
    annotations = make_annotations(samples, set(), without=(3, 7, 58, 59))
    sample = select_random_sample(annotations, [row(i) for i in range(100)])
    assert sample.skipped == 2
    assert len(sample.rows) == 56
    assert sample.lengths == (58,)
    audit, _ = make_audit(annotations, range(100), set())
    whole, _ = make_audit(make_annotations(samples, set(), without=(58, 59)), range(100), set())
    assert audit.estimate_errors().high > whole.estimate_errors().high
    assert audit.estimate_errors().low == 0


def test_rows_that_the_end_of_a_sample_left_may_be_in_the_next_one():
    first = make_sample(range(100), range(40))
    second = make_sample(range(20, 100), [30, *range(50, 90)])
    annotations = make_annotations([first, second], {30}, without=range(20, 30))
    sample = select_random_sample(annotations, [row(i) for i in range(100)])
    assert sample.lengths == (40, 41)  # row 30 was reached in the first sample already
    assert sample.skipped == 10


def test_without_a_stored_sample_there_is_no_estimate():
    annotations = Annotations({row(1): "dog"}, labels={row(1): "cat"}, audited=frozenset({row(1)}))
    assert select_random_sample(annotations, [row(1)]) is None


@pytest.mark.parametrize("size", [MIN_AUDITED - 1, MIN_AUDITED])
def test_a_sample_needs_thirty_rows(size):
    samples = [make_sample(range(100), range(size))]
    digests, contents = [row(i) for i in range(100)], [content(i) for i in range(100)]
    sample = select_random_sample(make_annotations(samples, {1}), digests)
    assert sample.locate_rows(digests, contents, ["cat"]).has_enough == (size >= MIN_AUDITED)


def test_equal_rows_are_one_unit():
    """A hundred of 400 rows are copies of a wrong row, and share its annotation."""

    def simulate(random):
        wrong = {i for i in range(100, 400) if random.random() < 0.05} | {0}
        rows = [0 if i < 100 else i for i in range(400)]
        chosen = dict.fromkeys(rows[int(i)] for i in random.permutation(400)[:80])
        audit, _ = make_audit(make_annotations([make_sample(rows, chosen)], wrong), rows, wrong)
        return audit, 99 + len(wrong)

    pairs = [simulate(np.random.default_rng(seed)) for seed in range(12)]
    estimates = [(audit.estimate_errors(), truth) for audit, truth in pairs]
    assert sum(errors.low <= truth <= errors.high for errors, truth in estimates) >= 10
    assert abs(np.mean([errors.expected - truth for errors, truth in estimates])) < 6


def make_grouped_audit(stored: bool):
    """Of 300 rows, those of one source in three are wrong; its wrong sampled rows are removed."""
    random = np.random.default_rng(2)
    sources = ["abc"[i % 3] for i in range(300)]
    wrong = {i for i in range(300) if i % 3 == 0 and random.random() < 0.7}
    source = (lambda i: sources[i]) if stored else None
    samples = [make_sample(range(300), draw(random, range(300), 60), source=source)]
    removed = {i for i in wrong if row(i) in samples[0].sampled_rows}
    left = [i for i in range(300) if i not in removed]
    audit, sample = make_audit(make_annotations(samples, wrong), left, wrong)
    groups = {"source": [sources[i] for i in left]}
    return count_group_errors(audit, sample, groups)["source"], len(wrong - removed), len(left)


def test_wrong_labels_are_counted_by_source():
    values, truth, rows = make_grouped_audit(stored=True)
    assert values[0]["value"] == "a"
    assert {value["value"] for value in values} == {"a", "b", "c"}
    assert sum(value["counted"] for value in values) == rows
    assert values[0]["low"] <= truth <= values[0]["high"]
    assert values[0]["low"] > values[1]["expected"]
    assert sum(value["verdicts"] for value in values) == 60


def test_a_group_column_that_was_not_recorded_counts_removed_rows_both_ways():
    known, truth, _ = make_grouped_audit(stored=True)
    unknown, _, _ = make_grouped_audit(stored=False)
    by_value = {value["value"]: value for value in unknown}
    assert by_value["a"]["low"] <= truth <= by_value["a"]["high"]
    for value in known:
        assert by_value[value["value"]]["high"] >= value["high"]


def test_the_columns_of_a_simple_design_are_those_of_any():
    frame = make_simple_design(pl.DataFrame({"content": [b"a", b"a", b"b"], "label": ["x"] * 3}))
    assert frame.select(*DESIGN).schema == pl.Schema(DESIGN)
    assert frame["copies"].to_list() == [2, 1]
    assert UNKNOWN == NO_UNIT == -1
