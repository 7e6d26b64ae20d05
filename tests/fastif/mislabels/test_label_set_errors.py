"""Errors of several labels a row: injected ones of both kinds, rare labels, reviews, and counts."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from fastif import InputError
from fastif.mislabels import LabelSetData, LabelSetDetector
from fastif.mislabels.audit_sample import AuditedRows, AuditSample
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.label_set_errors import pool_labels
from fastif.mislabels.labeled_data import NOT_REVIEWED

ROWS = 240


def make_rows(seed=0):
    """Three labels by three features; ten rows lack label 0, ten have label 1, wrongly."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(ROWS, 4))
    right = (x[:, :3] > [0, 0.5, -0.5]).astype(int)
    given = right.copy()
    clear = np.abs(x[:, :3] - [0, 0.5, -0.5]) > 0.3
    given[draw.choice(np.flatnonzero((right[:, 0] == 1) & clear[:, 0]), 10, False), 0] = 0
    given[draw.choice(np.flatnonzero((right[:, 1] == 0) & clear[:, 1]), 10, False), 1] = 1
    return torch.tensor(x).float(), torch.tensor(given), torch.tensor(right)


@pytest.fixture(scope="module")
def searched():
    x, given, right = make_rows()
    return x, given, right, LabelSetDetector()(LabelSetData(x, given))


def test_forgotten_and_added_labels_come_first(searched):
    _, given, right, errors = searched
    is_wrong = (given != right).numpy()
    assert average_precision_score(is_wrong.flatten(), errors.probability.flatten()) > 0.95
    by_row = average_precision_score(is_wrong.any(1), errors.row_probability)
    assert by_row > 0.9


def test_identical_rows_with_other_labels_are_evidence():
    """Of three identical rows one lacks a label; alone, the features say nothing of it."""
    x, given, _ = make_rows()
    x[:3], given[:3] = x[0].clone(), given[0].clone()
    given[:3, 1], given[2, 1] = 1, 0
    contents = torch.arange(ROWS)
    contents[:3] = 0
    groups = contents.clone()
    alone = LabelSetDetector()(LabelSetData(x, given, groups))
    pooled = LabelSetDetector()(LabelSetData(x, given, groups, contents=contents))
    assert float(pooled.probability[2, 1]) > float(alone.probability[2, 1])
    assert float(pooled.probability[2, 1]) > float(pooled.probability[0, 1])


def test_rows_are_pooled_as_independent_errors():
    p = torch.tensor([[0.1, 0.5, 0.2], [0.0, 0.0, torch.nan]])
    expected = torch.tensor([1 - 0.9 * 0.5 * 0.8, 0.0])
    assert torch.allclose(pool_labels(p), expected)


def test_rare_labels_and_labels_by_chance_are_told():
    x, given, _ = make_rows()
    draw = torch.Generator().manual_seed(0)
    never, always = torch.zeros(ROWS).long(), torch.ones(ROWS).long()
    chance = torch.randint(0, 2, (ROWS,), generator=draw)
    four = (torch.arange(ROWS) < 4).long()
    columns = torch.stack([given[:, 0], never, always, four, chance], 1)
    errors = LabelSetDetector()(LabelSetData(x, columns))
    assert errors.rare == {1: (0, ROWS), 2: (ROWS, 0), 3: (4, ROWS - 4)}
    assert errors.uninformed == (4,)
    assert errors.probability[:, 1:4].isnan().all()
    assert errors.row_probability.isfinite().all()


def test_copies_of_a_row_are_one_row():
    """Five copies of one row with a label are one, so that the label is too rare to be searched."""
    x, given, _ = make_rows()
    x, given = torch.cat([x, x[:1].repeat(5, 1)]), torch.cat([given, given[:1].repeat(5, 1)])
    given = torch.cat([given, torch.zeros(len(x), 1).long()], 1)
    given[[0, *range(ROWS, ROWS + 5)], 3] = 1
    groups = torch.cat([torch.arange(ROWS), torch.zeros(5).long()])
    assert LabelSetDetector()(LabelSetData(x, given, groups)).rare == {3: (1, ROWS - 1)}


def test_reviewed_cells_are_certain_and_are_evidence(searched):
    x, given, right, before = searched
    known = torch.full_like(given, NOT_REVIEWED)
    known[: ROWS // 2] = right[: ROWS // 2]
    after = LabelSetDetector()(LabelSetData(x, given, known=known))
    is_wrong = given != right
    assert torch.equal(after.probability[: ROWS // 2], is_wrong[: ROWS // 2].float())
    rest = slice(ROWS // 2, None)

    def log_loss(errors):
        p = errors.probability[rest].clamp(1e-4, 1 - 1e-4)
        return torch.nn.functional.binary_cross_entropy(p, is_wrong[rest].float())

    assert log_loss(after) < log_loss(before)


def test_random_verdicts_count_the_errors_of_each_label(searched):
    x, given, right, errors = searched
    cells, c = given.numel(), given.shape[1]
    is_wrong = (given != right).flatten()
    order = torch.randperm(cells, generator=torch.Generator().manual_seed(1))[:300]
    units, ones = torch.arange(cells), torch.ones(cells).long()
    verdict = torch.full((cells,), -1)
    verdict[order] = is_wrong[order].long()
    prior = errors.prior_error.flatten()
    sample = AuditSample(units, ones, ones * 0, ones.double(), prior, order, 300)
    labels = torch.arange(c).repeat(len(given))
    audited = AuditedRows((sample,), labels, verdict, ones, units, ones < 0)
    known = torch.full((cells,), NOT_REVIEWED)
    known[order] = right.flatten()[order]
    counted = LabelSetDetector()(
        LabelSetData(x, given, known=known.view(given.shape), audited=audited)
    )
    assert counted.audited_counts is not None
    truth = [*(given != right).sum(0).tolist(), int(is_wrong.sum())]
    for count, true in zip(counted.audited_counts, truth, strict=True):
        assert count.low <= true <= count.high
    assert sum(count.verdicts for count in counted.audited_counts[:-1]) == 300


def test_unusable_labels_are_refused():
    x = torch.arange(6.0)[:, None]
    with pytest.raises(InputError, match="0 or 1"):
        LabelSetData(x, torch.full((6, 2), 2))
    with pytest.raises(InputError, match="two or more distinct rows"):
        LabelSetDetector()(LabelSetData(x, torch.ones(6, 2).long(), torch.zeros(6).long()))


def test_the_fit_of_a_label_can_be_set(searched):
    x, given, right, _ = searched
    errors = LabelSetDetector(CrossFitter(4, 2, 1e-2, 1))(LabelSetData(x, given))
    is_wrong = (given != right).flatten().numpy()
    assert average_precision_score(is_wrong, errors.probability.flatten()) > 0.9
