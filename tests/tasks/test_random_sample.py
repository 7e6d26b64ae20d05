"""Which random samples count, and the rows that they stand for; by simulation with known errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastif.mislabels.random_audit import (
    FEWEST,
    GONE,
    UNCLEAR,
    Sample,
)
from tasks.data.row_hashes import row_digest
from tasks.mislabels.annotations import Verdicts
from tasks.mislabels.random_sample import random_sample
from tasks.mislabels.stored_samples import Draw, Selected


def content(i: int) -> bytes:
    return int(i).to_bytes(16, "big")


def row(i: int) -> bytes:
    return row_digest(content(i), "cat")


def draw_of(population, selected) -> Draw:
    rows = frozenset((content(i), "cat") for i in population)
    return Draw(rows, tuple(Selected(content(i), "cat", 0.1) for i in selected))


def verdicts_of(draws, wrong, without=()) -> Verdicts:
    """Verdicts on every drawn row, but those left out."""
    rows = (int.from_bytes(one.content, "big") for draw in draws for one in draw.selected)
    seen = set(rows) - set(without)
    settled = {row(i): "dog" if i in wrong else "cat" for i in seen}
    return Verdicts(settled, labels=dict.fromkeys(settled, "cat"), drawn=frozenset(settled),
                    draws=draws)  # fmt: skip


def errors_of(verdicts, rows, wrong, alike=None):
    """The count over rows of today, and what it is a count of."""
    digests = [row(i) for i in rows]
    sample = random_sample(verdicts, digests)
    numbers = alike or list(rows)
    contents, given = [content(i) for i in rows], [0] * len(rows)
    drawn = sample.drawn(digests, contents, ["cat", "dog"], given, numbers)
    seen = torch.tensor([digest in verdicts.settled for digest in digests])
    bad = torch.tensor([i in wrong for i in rows])
    labels = torch.zeros(len(rows), dtype=torch.long)
    doubt = torch.full((len(rows),), 0.1)
    return Sample(drawn, labels, doubt, seen, seen & bad), sample


def repeats(world, count=200) -> float:
    """Share of intervals that hold the number of wrong rows that they are about."""
    inside = []
    for seed in range(count):
        made, truth = world(np.random.default_rng(seed))
        errors = made.errors()
        inside.append(errors.low <= truth <= errors.high)
    return float(np.mean(inside))


def test_rows_that_come_after_the_draw_are_not_counted_by_it():
    """80 of 250 rows, of which 4 % are wrong, are drawn; then 250 come of which 45 % are wrong."""

    def world(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        draws = [draw_of(range(250), random.permutation(250)[:80])]
        made, _ = errors_of(verdicts_of(draws, wrong), range(500), wrong)
        assert int(made.later.sum()) == 250
        return made, sum(i < 250 for i in wrong)

    assert repeats(world) >= 0.85


def test_a_later_draw_counts_what_the_first_could_not():
    def world(random):
        wrong = {i for i in range(500) if random.random() < (0.04 if i < 250 else 0.45)}
        first = draw_of(range(250), random.permutation(250)[:80])
        left = [i for i in range(500) if row(i) not in first.drawn]
        second = draw_of(left, random.permutation(left)[:80])
        made, sample = errors_of(verdicts_of([first, second], wrong), range(500), wrong)
        assert not made.later.any()
        assert len(sample.rows) == 80
        return made, len(wrong)

    assert repeats(world) >= 0.85


def test_draws_from_the_same_rows_are_one_larger_sample():
    random = np.random.default_rng(0)
    order = random.permutation(250)
    draws = [draw_of(range(250), order[:40]), draw_of(order[40:], order[40:80])]
    verdicts = verdicts_of(draws, set())
    sample = random_sample(verdicts, [row(i) for i in range(250)])
    assert len(sample.rows) == 80
    assert len(sample.population) == 250


def test_few_rows_more_do_not_make_a_small_draw_count():
    draws = [draw_of(range(250), range(80)), draw_of(range(80, 260), range(250, 255))]
    sample = random_sample(verdicts_of(draws, set()), [row(i) for i in range(260)])
    assert len(sample.rows) == 80  # the five alone are too few, and the ten rows came later
    assert len(sample.population) == 250


def test_rows_removed_with_a_whole_source_and_rows_removed_for_their_verdicts():
    """The interval is about the rows that are left, whichever of the two it was."""
    for for_verdicts in (True, False):

        def world(random, for_verdicts=for_verdicts):
            wrong = {i for i in range(600) if random.random() < (0.1 if i < 300 else 0.5)}
            draws = [draw_of(range(600), random.permutation(600)[:120])]
            drawn = {i for i in range(600) if row(i) in draws[0].drawn}
            gone = drawn & wrong if for_verdicts else set(range(300, 600))
            left = [i for i in range(600) if i not in gone]
            made, sample = errors_of(verdicts_of(draws, wrong), left, wrong)
            assert (sample.gone == 0) == for_verdicts
            codes = set(made.drawn.place.tolist())
            assert (GONE if for_verdicts else UNCLEAR) in codes
            return made, sum(i in wrong for i in left)

        assert repeats(world, 60) >= 0.85


def test_skipped_rows_are_counted_as_such():
    draws = [draw_of(range(100), range(60))]
    verdicts = verdicts_of(draws, set(), without=(3, 7, 58, 59))
    sample = random_sample(verdicts, [row(i) for i in range(100)])
    assert sample.skipped == 2  # the last two were not reached
    assert len(sample.rows) == 56


def test_without_a_recorded_draw_nothing_is_counted():
    verdicts = Verdicts({row(1): "dog"}, labels={row(1): "cat"}, drawn=frozenset({row(1)}))
    assert random_sample(verdicts, [row(1)]) is None


@pytest.mark.parametrize("size", [FEWEST - 1, FEWEST])
def test_thirty_are_the_least(size):
    draws = [draw_of(range(100), range(size))]
    digests = [row(i) for i in range(100)]
    sample = random_sample(verdicts_of(draws, {1}), digests)
    contents = [content(i) for i in range(100)]
    drawn = sample.drawn(digests, contents, ["cat"], [0] * 100, range(100))
    assert drawn.enough == (size >= FEWEST)


def test_rows_that_are_there_many_times_are_not_counted_again_in_the_rest():
    """A hundred of 400 rows are one row, and wrong; the verdict on one of them is on all."""

    def world(random):
        bad = {i for i in range(100, 400) if random.random() < 0.05}
        place = random.permutation(400)[:80]
        rows = [0 if i < 100 else i for i in range(400)]
        chosen = list(dict.fromkeys(0 if i < 100 else int(i) for i in place))
        wrong = bad | {0}
        draws = [draw_of(set(rows), chosen)]
        made, _ = errors_of(verdicts_of(draws, wrong), rows, wrong, rows)
        return made, 100 + len(bad)

    pairs = [world(np.random.default_rng(seed)) for seed in range(60)]
    assert abs(np.mean([made.errors().expected - truth for made, truth in pairs])) < 1.5
    alone = [replace(made, drawn=replace(made.drawn, copies=None)) for made, _ in pairs]
    each = zip(alone, pairs, strict=True)
    assert np.mean([plain.errors().expected - truth for plain, (_, truth) in each]) > 2
