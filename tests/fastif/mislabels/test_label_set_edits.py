"""Edits of label sets: probabilities by listing all right sets, and rates of simulated errors."""

import itertools

import pytest
import torch
from sklearn.metrics import average_precision_score

from fastif.mislabels import LabelSetData, LabelSetDetector
from fastif.mislabels.label_set_edits import (
    SetEdits,
    find_set_errors,
    fit_set_edits,
    mean_set_sizes,
)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


P = numbers((0.9, 0.2, 0.4, 0.6), (0.05, 0.5, 0.7, 0.1), (0.3, 0.3, 0.3, 0.3))
GIVEN = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
EDITS = SetEdits(
    numbers(0.1, 0.02, 0.2, 0.05),
    numbers(0.01, 0.03, 0.05, 0.02),
    0.08,
    numbers(0.1, 1.5, 1.0, 0.4, 0.2).log(),
)


def odds(share):
    return share / (1 - share)


def list_right_sets(p, given, settled):
    """Every right set by at most one edit, with its joint probability with the given one."""
    for right in itertools.product((0, 1), repeat=4):
        gone = [k for k in range(4) if right[k] and not given[k]]
        extra = [k for k in range(4) if given[k] and not right[k]]
        if any(settled[k] for k in gone + extra) or len(gone) > 1 or len(extra) > 1:
            continue
        prior = EDITS.log_size[sum(right)].exp()
        for k in range(4):
            prior = prior * (p[k] if right[k] else 1 - p[k])
        if gone and extra:
            prior = prior * odds(EDITS.exchanged) / (4 - sum(given))
        elif gone:
            prior = prior * odds(EDITS.forgotten[gone[0]])
        elif extra:
            prior = prior * odds(EDITS.added[extra[0]])
        yield right, float(prior)


@pytest.mark.parametrize("settled_cell", [None, (0, 0), (1, 0)])
def test_errors_are_those_of_all_right_sets(settled_cell):
    settled = torch.zeros_like(GIVEN, dtype=torch.bool)
    if settled_cell:
        settled[settled_cell] = True
    errors = find_set_errors(P, GIVEN, EDITS, settled)
    for row in range(3):
        given = GIVEN[row].tolist()
        sets = [*list_right_sets(P[row].tolist(), given, settled[row].tolist())]
        total = sum(weight for _, weight in sets)
        wrong = sum(weight for right, weight in sets if [*right] != given)
        assert float(errors.row[row]) == pytest.approx(wrong / total, rel=1e-9)
        for k in range(4):
            cell = sum(weight for right, weight in sets if right[k] != given[k])
            assert float(errors.cell[row, k]) == pytest.approx(cell / total, rel=1e-9, abs=1e-12)


def test_expected_sizes_are_those_of_all_sets():
    expected = torch.zeros(5).double()
    for row in P:
        for right in itertools.product((0, 1), repeat=4):
            chosen = torch.tensor(right) == 1
            expected[sum(right)] += torch.where(chosen, row, 1 - row).prod() / len(P)
    assert torch.allclose(mean_set_sizes(P), expected)


def simulate(kind, rows=400):
    """Rows with one label of eight, some of which are rare, and one kind of edit."""
    draw = torch.Generator().manual_seed(3)
    popularity = torch.linspace(2, -1, 8)
    logits = 2 * torch.randn(rows, 8, generator=draw) + popularity
    chosen = torch.multinomial(logits.softmax(1), 1, generator=draw)
    right = torch.zeros(rows, 8).long().scatter(1, chosen, 1)
    return logits, right, edit(kind, right, draw)


def edit(kind, right, draw):
    """The label sets with one edit in a tenth of the rows."""
    given = right.clone()
    for row in (torch.rand(len(right), generator=draw) < 0.1).nonzero()[:, 0].tolist():
        on, off = (right[row] == 1).nonzero()[:, 0], (right[row] == 0).nonzero()[:, 0]
        if kind != "added" and len(on):
            given[row, on[int(torch.randint(len(on), (1,), generator=draw))]] = 0
        if kind == "forgotten" or not len(off) or (kind == "exchanged" and not len(on)):
            continue
        given[row, off[int(torch.randint(len(off), (1,), generator=draw))]] = 1
    return given


@pytest.mark.parametrize("kind", ["forgotten", "added", "exchanged"])
def test_each_kind_of_edit_is_told_from_the_others(kind):
    """With the true probabilities of independent labels, expected edits are those made."""
    draw = torch.Generator().manual_seed(5)
    p = (3 * torch.randn(1500, 6, generator=draw) - torch.arange(6) / 2).sigmoid()
    right = (torch.rand(1500, 6, generator=draw) < p).long()
    given = edit(kind, right, draw)
    errors = find_set_errors(p, given, fit_set_edits(p, given))
    sums = {
        "forgotten": float(errors.forgotten.sum()),
        "added": float(errors.added.sum()),
        "exchanged": float(errors.exchanged.sum()) / 2,
    }
    true = int((given != right).any(1).sum())
    assert sums[kind] == pytest.approx(true, rel=0.35)
    assert sums[kind] > 0.7 * sum(sums.values())


@pytest.mark.parametrize("kind", ["forgotten", "exchanged"])
def test_edits_of_rare_labels_come_before_the_loss(kind):
    """Most of the labels are rare; features are those that the labels come from."""
    logits, right, given = simulate(kind)
    p, rare, _ = LabelSetDetector().predict_labels(LabelSetData(logits, given))
    assert not rare
    cells = find_set_errors(p, given, fit_set_edits(p, given)).cell
    loss = -torch.where(given == 1, p, 1 - p).log()
    is_wrong = (given != right).flatten().numpy()
    ours, plain = (
        average_precision_score(is_wrong, score.flatten().numpy()) for score in (cells, loss)
    )
    assert ours > plain + 0.02


def test_a_label_by_itself_has_two_kinds_of_edits():
    errors = find_set_errors(
        torch.tensor([[0.9], [0.1]]),
        torch.tensor([[0], [1]]),
        SetEdits(torch.tensor([0.1]), torch.tensor([0.05]), 0.3, torch.zeros(2)),
    )
    assert float(errors.exchanged.sum()) == 0
    assert float(errors.cell[0, 0]) == pytest.approx(9 / 9 / (1 + 9 / 9), rel=1e-6)
    assert float(errors.cell[1, 0]) == pytest.approx(9 * odds(0.05) / (1 + 9 * odds(0.05)))
