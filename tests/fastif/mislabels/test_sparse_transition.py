"""Cells of T are selected where labels are flipped, and nowhere else."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score

from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.noise_fit import fit_cells
from fastif.mislabels.noise_model import fit_noise_model
from fastif.mislabels.sparse_transition import (
    MAX_ROWS,
    measure_misfit,
    sample_rows,
    select_sparse_transition,
)


def make_logits(classes, rows, seed=0, spread=1.2):
    """Calibrated logits of Gaussian clusters, and true classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (rows,), generator=generator)
    points = 2.5 * torch.nn.functional.one_hot(truth, classes)
    points = points + spread * torch.randn(rows, classes, generator=generator)
    return points * 2.5 / spread**2, truth, generator


def flip(truth, transition, generator):
    return torch.multinomial(transition[truth], 1, generator=generator)[:, 0]


def make_uniform(classes, error):
    return torch.full((classes, classes), error / (classes - 1)).fill_diagonal_(1 - error)


def select(logits, labels, known=None):
    return select_sparse_transition(logits, labels, known).transition


def list_cells(transition):
    """Cells that differ from the most frequent weight relative to the diagonal."""
    weights = transition / transition.diagonal()[:, None]
    off = ~torch.eye(len(transition), dtype=torch.bool)
    usual = weights[off].median()
    return {(t, y) for t, y in ((weights - usual).abs() > 1e-4).logical_and(off).nonzero().tolist()}


@pytest.mark.parametrize("error", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("classes", [3, 6])
def test_uniform_noise_has_no_cells_and_its_rate(classes, error):
    logits, truth, generator = make_logits(classes, 3000)
    labels = flip(truth, make_uniform(classes, error), generator)
    transition = select(logits, labels)
    assert list_cells(transition) == set()
    assert float(1 - transition.diagonal().mean()) == pytest.approx(error, abs=0.02)


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_one_class_that_is_flipped_is_one_cell(classes):
    logits, truth, generator = make_logits(classes, 2000)
    transition = torch.eye(classes)
    transition[0, :2] = torch.tensor([0.6, 0.4])
    selected = select(logits, flip(truth, transition, generator))
    assert list_cells(selected) == {(0, 1)} or classes == 2
    assert (selected - transition).abs().max() < 0.08


def test_pairs_are_cells_that_pay_together():
    classes = 6
    logits, truth, generator = make_logits(classes, 1500)
    transition = 0.85 * torch.eye(classes) + 0.15 * torch.eye(classes).roll(1, 1)
    selected = select(logits, flip(truth, transition, generator))
    assert list_cells(selected) == {(t, (t + 1) % classes) for t in range(classes)}


@pytest.mark.long
def test_the_cells_of_many_classes_are_added_together():
    """One by one they would take forty fits."""
    classes = 40
    logits, truth, generator = make_logits(classes, 4000, spread=0.8)
    transition = 0.8 * torch.eye(classes) + 0.2 * torch.eye(classes).roll(1, 1)
    selected = select(logits, flip(truth, transition, generator))
    assert len(list_cells(selected) & {(t, (t + 1) % classes) for t in range(classes)}) > 36
    assert (selected - transition).abs().max() < 0.15


def test_a_classifier_that_confuses_classes_is_not_label_noise():
    """Ordinal scores with unequal steps: right labels, and logits that no temperature corrects."""
    logits, truth, _ = make_logits(5, 5000, spread=2.0)
    mixing = torch.eye(5) + 0.6 * torch.eye(5).roll(1, 1) * torch.tensor([1.0, 0, 1, 0, 0])
    confused = logits @ mixing
    rows = sample_rows(confused, truth, None, None)
    assert measure_misfit(rows) > 3
    assert list_cells(select(confused, truth)) == set()


def test_reviewed_rows_decide_where_the_likelihood_cannot():
    """Without information in the logits, only reviews tell which class is flipped."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 3, (2000,), generator=generator)
    transition = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    labels = flip(truth, transition, generator)
    logits = 1e-3 * torch.randn(2000, 3, generator=generator)
    known = torch.nn.functional.one_hot(truth, 3).float()
    known[400:] = 0
    assert list_cells(select(logits, labels)) == set()
    assert list_cells(select(logits, labels, known)) == {(0, 1)}


@pytest.mark.long
def test_a_large_table_is_selected_on_a_sample_and_fitted_on_all_rows():
    logits, truth, generator = make_logits(3, 2 * MAX_ROWS + 7)
    transition = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    labels = flip(truth, transition, generator)
    model = fit_noise_model(logits, labels)
    p, fitted = model.p, model.transition
    assert p.shape == logits.shape
    assert (fitted - transition).abs().max() < 0.01


def test_with_symmetric_noise_the_ranking_is_that_of_the_calibrated_loss():
    """Where no cell is supported and the pseudo-R² is low, the loss is the floor."""
    logits, truth, generator = make_logits(4, 2000, spread=6.0)
    labels = flip(truth, make_uniform(4, 0.3), generator)
    model = fit_noise_model(logits, labels)
    p, transition = model.p, model.transition
    joint = p * transition[:, labels].T
    error = 1 - (joint / joint.sum(1, keepdim=True)).gather(1, labels[:, None])[:, 0]
    loss = -p.gather(1, labels[:, None])[:, 0].log()
    ranks = torch.stack([error, loss]).argsort(1).argsort(1).double()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.999


def test_a_free_matrix_is_used_only_where_the_likelihood_rejects_the_sparse_one():
    """Each class has another rate of each error, or all have the same one."""
    logits, truth, generator = make_logits(4, 8000)
    rates = 0.12 * torch.rand(4, 4, generator=generator).fill_diagonal_(0)
    uneven = flip(truth, rates + torch.diag(1 - rates.sum(1)), generator)
    even = flip(truth, make_uniform(4, 0.15), generator)
    assert not select_sparse_transition(logits, uneven).is_sufficient
    assert select_sparse_transition(logits, even).is_sufficient


@pytest.mark.long
def test_the_sparse_matrix_is_rejected_no_more_often_than_the_level_of_the_test():
    """Uniform noise, 30 tables: at 1 %, three rejections have a probability of 0.3 %."""
    rejected = 0
    for seed in range(30):
        logits, truth, generator = make_logits(3, 300, seed)
        labels = flip(truth, make_uniform(3, 0.1), generator)
        rejected += not select_sparse_transition(logits, labels).is_sufficient
    assert rejected < 3


def test_duplicates_are_no_further_evidence():
    """Each row ten times: with weights of a tenth the selection is that of the rows themselves."""
    logits, truth, generator = make_logits(4, 150, spread=2.0)
    labels = flip(truth, make_uniform(4, 0.2), generator)
    once = select_sparse_transition(logits, labels)
    copies = (logits.repeat(10, 1), labels.repeat(10))
    shared = select_sparse_transition(*copies, weights=torch.full((1500,), 0.1))
    assert shared.is_sufficient == once.is_sufficient
    torch.testing.assert_close(shared.transition, once.transition, rtol=1e-3, atol=1e-4)


def test_a_large_table_of_alternating_classes_is_sampled_from_both():
    """Every second row of forty thousand would be of one class."""
    truth = torch.arange(2 * MAX_ROWS) % 2
    generator = torch.Generator().manual_seed(0)
    logits = 4.0 * torch.nn.functional.one_hot(truth, 2)
    logits = logits + torch.randn(len(truth), 2, generator=generator)
    labels = torch.where(
        (truth == 0) & (torch.rand(len(truth), generator=generator) < 0.3), 1, truth
    )
    expected = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    assert (select(logits, labels) - expected).abs().max() < 0.05


def test_double_precision_has_the_same_selection():
    logits, truth, generator = make_logits(4, 1000)
    labels = flip(truth, make_uniform(4, 0.1), generator)
    double = select(logits.double(), labels)
    torch.testing.assert_close(double, select(logits, labels), rtol=1e-3, atol=1e-4)


def test_the_average_is_weighted_by_likelihood_and_price():
    """Two classes: g is 1, and log C(2, 1) is added to the price of a cell."""
    logits, truth, generator = make_logits(2, 400, spread=3.5)
    labels = flip(truth, torch.tensor([[0.6, 0.4], [0.0, 1.0]]), generator)
    selected = select_sparse_transition(logits, labels)
    rows = sample_rows(logits, labels, None, None)
    symmetric, cell = fit_cells(rows, (), None), fit_cells(rows, ((0, 1),), None)
    gain = cell.log_likelihood - symmetric.log_likelihood
    weight = 1 / (1 + math.exp(math.log(400) / 2 + math.log(2) - gain))
    expected = (1 - weight) * symmetric.transition + weight * cell.transition
    torch.testing.assert_close(selected.averaged, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("seed", [2, 3])
def test_noise_that_moves_the_calibration_is_a_cell_too(seed):
    """At fixed p(t | x) no cell gains: the bias of a fitted head explains the flipped class."""
    points, truth, generator = make_logits(2, 1500, seed=seed, spread=3.0)
    labels = flip(truth, torch.tensor([[0.5, 0.5], [0.0, 1.0]]), generator)
    logits = fit_linear_head(points, torch.nn.functional.one_hot(labels, 2).float(), 1e-3)(points)
    selected = select(logits, labels)
    assert float(selected[0, 1]) > 0.3
    assert float(selected[1, 0]) < 0.1


@pytest.mark.long
def test_a_flipped_class_is_ranked_above_chance_where_the_evidence_is_weak():
    """Mean over data sets in which the selected matrix alone is symmetric."""
    precisions, shares, symmetric = [], [], 0
    for seed in range(12):
        logits, truth, generator = make_logits(2, 400, seed=seed, spread=3.0)
        labels = flip(truth, torch.tensor([[0.6, 0.4], [0.0, 1.0]]), generator)
        if len(list_cells(select(logits, labels))):
            continue
        symmetric += 1
        model = fit_noise_model(logits, labels)
        p, transition = model.p, model.transition
        joint = p * transition[:, labels].T
        right = (joint / joint.sum(1, keepdim=True)).gather(1, labels[:, None])[:, 0]
        wrong = (labels != truth).numpy()
        precisions.append(average_precision_score(wrong, -right.numpy()))
        shares.append(wrong.mean())
    assert symmetric >= 3
    assert sum(precisions) / symmetric > 1.5 * sum(shares) / symmetric
