"""Which random samples count, and the rows that they stand for; by simulation with known errors."""

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


def make_draw(population, selected) -> StoredSample:
    rows = frozenset((content(i), "cat") for i in population)
    return StoredSample(rows, tuple(SampledRow(content(i), "cat", 0.1) for i in selected))


def make_verdicts(draws, wrong, without=()) -> Annotations:
    """Verdicts on every drawn row, but those left out."""
    rows = (int.from_bytes(item.content, "big") for draw in draws for item in draw.selected)
    reviewed = set(rows) - set(without)
    settled = {row(i): "dog" if i in wrong else "cat" for i in reviewed}
    return Annotations(settled, labels=dict.fromkeys(settled, "cat"), audited=frozenset(settled),
                    samples=draws)  # fmt: skip


def count_errors(verdicts, rows, wrong, alike=None):
    """The count over rows of today, and what it is a count of."""
    digests = [row(i) for i in rows]
    sample = select_random_sample(verdicts, digests)
    numbers = alike or list(rows)
    contents, given = [content(i) for i in rows], [0] * len(rows)
    drawn = sample.locate_rows(digests, contents, ["cat", "dog"], given, numbers)
    reviewed = torch.tensor([digest in verdicts.agreed for digest in digests])
    bad = torch.tensor([i in wrong for i in rows])
    labels = torch.zeros(len(rows), dtype=torch.long)
    doubt = torch.full((len(rows),), 0.1)
    return RandomAudit(drawn, labels, doubt, reviewed, reviewed & bad), sample


def estimate_coverage(world, count=200) -> float:
    """Share of intervals that hold the number of wrong rows that they are about."""
    inside = []
    for seed in range(count):
        made, truth = world(np.random.default_rng(seed))
        errors = made.estimate_errors()
        inside.append(errors.low <= truth <= errors.high)
    return float(np.mean(inside))


def test_rows_that_come_after_the_draw_are_not_counted_by_it():
    """80 of 250 rows, of which 4 % are wrong, are drawn; then 250 come of which 45 % are wrong."""

    def world(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        draws = [make_draw(range(250), random.permutation(250)[:80])]
        made, _ = count_errors(make_verdicts(draws, wrong), range(500), wrong)
        assert int(made.is_later.sum()) == 250
        return made, sum(i < 250 for i in wrong)

    assert estimate_coverage(world) >= 0.85


def test_a_later_draw_counts_what_the_first_could_not():
    def world(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        first = make_draw(range(250), random.permutation(250)[:80])
        left = [i for i in range(500) if row(i) not in first.sampled_rows]
        second = make_draw(left, random.permutation(left)[:80])
        made, sample = count_errors(make_verdicts([first, second], wrong), range(500), wrong)
        assert not made.is_later.any()
        assert len(sample.rows) == 80
        return made, len(wrong)

    assert estimate_coverage(world) >= 0.85


def test_draws_from_the_same_rows_are_one_larger_sample():
    random = np.random.default_rng(0)
    order = random.permutation(250)
    draws = [make_draw(range(250), order[:40]), make_draw(order[40:], order[40:80])]
    verdicts = make_verdicts(draws, set())
    sample = select_random_sample(verdicts, [row(i) for i in range(250)])
    assert len(sample.rows) == 80
    assert len(sample.population) == 250


def test_few_rows_more_do_not_make_a_small_draw_count():
    draws = [make_draw(range(250), range(80)), make_draw(range(80, 260), range(250, 255))]
    sample = select_random_sample(make_verdicts(draws, set()), [row(i) for i in range(260)])
    assert len(sample.rows) == 80  # the five alone are too few, and the ten rows came later
    assert len(sample.population) == 250


def test_rows_removed_with_a_whole_source_and_rows_removed_for_their_verdicts():
    """The interval is about the rows that are left, whichever of the two it was."""
    for for_verdicts in (True, False):

        def world(random, for_verdicts=for_verdicts):
            wrong = {i for i in range(600) if random.random() < (0.1 if i < 300 else 0.5)}
            draws = [make_draw(range(600), random.permutation(600)[:120])]
            drawn = {i for i in range(600) if row(i) in draws[0].sampled_rows}
            gone = drawn & wrong if for_verdicts else set(range(300, 600))
            left = [i for i in range(600) if i not in gone]
            made, sample = count_errors(make_verdicts(draws, wrong), left, wrong)
            assert (sample.gone == 0) == for_verdicts
            codes = set(made.audited.position.tolist())
            assert (REMOVED_ROW if for_verdicts else UNCLEAR) in codes
            return made, sum(i in wrong for i in left)

        assert estimate_coverage(world, 60) >= 0.85


def test_skipped_rows_are_counted_as_such():
    draws = [make_draw(range(100), range(60))]
    verdicts = make_verdicts(draws, set(), without=(3, 7, 58, 59))
    sample = select_random_sample(verdicts, [row(i) for i in range(100)])
    assert sample.skipped == 2  # the last two were not reached
    assert len(sample.rows) == 56


def test_without_a_recorded_draw_nothing_is_counted():
    verdicts = Annotations({row(1): "dog"}, labels={row(1): "cat"}, audited=frozenset({row(1)}))
    assert select_random_sample(verdicts, [row(1)]) is None


@pytest.mark.parametrize("size", [MIN_AUDITED - 1, MIN_AUDITED])
def test_thirty_are_the_least(size):
    draws = [make_draw(range(100), range(size))]
    digests = [row(i) for i in range(100)]
    sample = select_random_sample(make_verdicts(draws, {1}), digests)
    contents = [content(i) for i in range(100)]
    drawn = sample.locate_rows(digests, contents, ["cat"], [0] * 100, range(100))
    assert drawn.has_enough == (size >= MIN_AUDITED)


def test_rows_that_are_there_many_times_are_not_counted_again_in_the_rest():
    """A hundred of 400 rows are one row, and wrong; the verdict on one of them is on all."""

    def world(random):
        bad = {i for i in range(100, 400) if random.random() < 0.05}
        place = random.permutation(400)[:80]
        rows = [0 if i < 100 else i for i in range(400)]
        chosen = list(dict.fromkeys(0 if i < 100 else int(i) for i in place))
        wrong = bad | {0}
        draws = [make_draw(set(rows), chosen)]
        made, _ = count_errors(make_verdicts(draws, wrong), rows, wrong, rows)
        return made, 100 + len(bad)

    pairs = [world(np.random.default_rng(seed)) for seed in range(60)]
    assert abs(np.mean([made.estimate_errors().expected - truth for made, truth in pairs])) < 1.5
    alone = [replace(made, audited=replace(made.audited, copies=None)) for made, _ in pairs]
    each = zip(alone, pairs, strict=True)
    assert np.mean([plain.estimate_errors().expected - truth for plain, (_, truth) in each]) > 2
