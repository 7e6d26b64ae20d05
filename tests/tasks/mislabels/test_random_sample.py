"""Random audit samples: selection and coverage, by simulation with known errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastif.mislabels.random_audit import (
    MIN_AUDITED,
    REMOVED_ROW,
    UNCLEAR,
    RandomAudit,
)
from tasks.data.row_hashes import row_digest
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.stored_samples import SampledRow, StoredSample


def content(i: int) -> bytes:
    return int(i).to_bytes(16, "big")


def row(i: int) -> bytes:
    return row_digest(content(i), "cat")


def make_sample(population, selected) -> StoredSample:
    rows = frozenset((content(i), "cat") for i in population)
    return StoredSample(rows, tuple(SampledRow(content(i), "cat", 0.1) for i in selected))


def make_annotations(samples, wrong, without=()) -> Annotations:
    """Annotations of every sampled row, without some."""
    rows = (int.from_bytes(item.content, "big") for stored in samples for item in stored.selected)
    reviewed = set(rows) - set(without)
    agreed = {row(i): "dog" if i in wrong else "cat" for i in reviewed}
    return Annotations(agreed, labels=dict.fromkeys(agreed, "cat"), audited=frozenset(agreed),
                    samples=samples)  # fmt: skip


def count_errors(annotations, rows, wrong, alike=None):
    """Audit of the current rows, and the sample that it uses."""
    digests = [row(i) for i in rows]
    sample = select_random_sample(annotations, digests)
    numbers = alike or list(rows)
    contents, given = [content(i) for i in rows], [0] * len(rows)
    sampled = sample.locate_rows(digests, contents, ["cat", "dog"], given, numbers)
    reviewed = torch.tensor([digest in annotations.agreed for digest in digests])
    is_wrong = torch.tensor([i in wrong for i in rows])
    labels = torch.zeros(len(rows), dtype=torch.long)
    prior_error = torch.full((len(rows),), 0.1)
    return RandomAudit(sampled, labels, prior_error, reviewed, reviewed & is_wrong), sample


def estimate_coverage(simulate, count=200) -> float:
    """Fraction of intervals that contain the true number of wrong rows."""
    inside = []
    for seed in range(count):
        audit, truth = simulate(np.random.default_rng(seed))
        errors = audit.estimate_errors()
        inside.append(errors.low <= truth <= errors.high)
    return float(np.mean(inside))


def test_rows_added_after_the_sample_are_not_covered():
    """80 of 250 rows with 4 % errors are sampled; then 250 rows with 45 % errors are added."""

    def simulate(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        samples = [make_sample(range(250), random.permutation(250)[:80])]
        audit, _ = count_errors(make_annotations(samples, wrong), range(500), wrong)
        assert int(audit.is_later.sum()) == 250
        return audit, sum(i < 250 for i in wrong)

    assert estimate_coverage(simulate) >= 0.85


def test_a_later_sample_covers_added_rows():
    def simulate(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        first = make_sample(range(250), random.permutation(250)[:80])
        left = [i for i in range(500) if row(i) not in first.sampled_rows]
        second = make_sample(left, random.permutation(left)[:80])
        audit, sample = count_errors(make_annotations([first, second], wrong), range(500), wrong)
        assert not audit.is_later.any()
        assert len(sample.rows) == 80
        return audit, len(wrong)

    assert estimate_coverage(simulate) >= 0.85


def test_samples_of_the_same_rows_are_pooled():
    random = np.random.default_rng(0)
    order = random.permutation(250)
    samples = [make_sample(range(250), order[:40]), make_sample(order[40:], order[40:80])]
    annotations = make_annotations(samples, set())
    sample = select_random_sample(annotations, [row(i) for i in range(250)])
    assert len(sample.rows) == 80
    assert len(sample.population) == 250


def test_a_small_later_sample_does_not_replace_a_large_one():
    samples = [make_sample(range(250), range(80)), make_sample(range(80, 260), range(250, 255))]
    sample = select_random_sample(make_annotations(samples, set()), [row(i) for i in range(260)])
    assert len(sample.rows) == 80  # the five alone are too few, and the ten rows came later
    assert len(sample.population) == 250


def test_intervals_cover_after_rows_are_removed_for_either_reason():
    """Rows removed for their annotations, or with a source; the interval covers those left."""
    for for_annotations in (True, False):

        def simulate(random, for_annotations=for_annotations):
            wrong = {i for i in range(600) if random.random() < (0.1 if i < 300 else 0.5)}
            samples = [make_sample(range(600), random.permutation(600)[:120])]
            sampled = {i for i in range(600) if row(i) in samples[0].sampled_rows}
            gone = sampled & wrong if for_annotations else set(range(300, 600))
            left = [i for i in range(600) if i not in gone]
            audit, sample = count_errors(make_annotations(samples, wrong), left, wrong)
            assert (sample.gone == 0) == for_annotations
            codes = set(audit.audited.position.tolist())
            assert (REMOVED_ROW if for_annotations else UNCLEAR) in codes
            return audit, sum(i in wrong for i in left)

        assert estimate_coverage(simulate, 60) >= 0.85


def test_skipped_sampled_rows_are_counted():
    samples = [make_sample(range(100), range(60))]
    annotations = make_annotations(samples, set(), without=(3, 7, 58, 59))
    sample = select_random_sample(annotations, [row(i) for i in range(100)])
    assert sample.skipped == 2  # the last two were not reached
    assert len(sample.rows) == 56


def test_without_a_stored_sample_there_is_no_estimate():
    annotations = Annotations({row(1): "dog"}, labels={row(1): "cat"}, audited=frozenset({row(1)}))
    assert select_random_sample(annotations, [row(1)]) is None


@pytest.mark.parametrize("size", [MIN_AUDITED - 1, MIN_AUDITED])
def test_a_sample_needs_thirty_rows(size):
    samples = [make_sample(range(100), range(size))]
    digests = [row(i) for i in range(100)]
    sample = select_random_sample(make_annotations(samples, {1}), digests)
    contents = [content(i) for i in range(100)]
    sampled = sample.locate_rows(digests, contents, ["cat"], [0] * 100, range(100))
    assert sampled.has_enough == (size >= MIN_AUDITED)


def test_copies_of_a_sampled_row_are_not_counted_as_unreviewed():
    """A hundred of 400 rows are copies of a wrong row, and share its annotation."""

    def simulate(random):
        is_wrong = {i for i in range(100, 400) if random.random() < 0.05}
        place = random.permutation(400)[:80]
        rows = [0 if i < 100 else i for i in range(400)]
        chosen = list(dict.fromkeys(0 if i < 100 else int(i) for i in place))
        wrong = is_wrong | {0}
        samples = [make_sample(set(rows), chosen)]
        audit, _ = count_errors(make_annotations(samples, wrong), rows, wrong, rows)
        return audit, 100 + len(is_wrong)

    pairs = [simulate(np.random.default_rng(seed)) for seed in range(60)]
    assert abs(np.mean([audit.estimate_errors().expected - truth for audit, truth in pairs])) < 1.5
    alone = [replace(audit, audited=replace(audit.audited, copies=None)) for audit, _ in pairs]
    each = zip(alone, pairs, strict=True)
    assert np.mean([plain.estimate_errors().expected - truth for plain, (_, truth) in each]) > 2
