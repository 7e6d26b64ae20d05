"""Several annotators: EM against direct maximization, recovery, coverage, and odd tables."""

import itertools

import pytest
import torch

from fastif import InputError
from fastif.mislabels.annotated_rows import AnnotatedRows
from fastif.mislabels.annotator_intervals import compute_accuracy_intervals
from fastif.mislabels.dawid_skene import (
    ANNOTATOR_PRIOR,
    SHARE_PRIOR,
    compute_log_joint,
    count_votes,
    fit_annotator_model,
)


def make(entries, rows=None, annotators=None, classes=2, prior=None):
    columns = [torch.tensor(column) for column in zip(*entries, strict=True)]
    return AnnotatedRows(
        *columns,
        rows or int(columns[0].max()) + 1,
        annotators or int(columns[1].max()) + 1,
        classes,
        prior,
    )


def simulate(rows=400, accuracies=(0.9, 0.8, 0.7, 0.6), classes=3, share=1.0, seed=0):
    """Annotations with errors that are uniform over the other classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (rows,), generator=generator)
    entries = []
    for annotator, accuracy in enumerate(accuracies):
        is_right = torch.rand(rows, generator=generator) < accuracy
        turn = torch.randint(1, classes, (rows,), generator=generator)
        labels = torch.where(is_right, truth, (truth + turn) % classes)
        is_labelled = torch.rand(rows, generator=generator) < share
        ids = is_labelled.nonzero()[:, 0]
        entries.append(torch.stack([ids, torch.full_like(ids, annotator), labels[ids]], 1))
    columns = torch.cat(entries).T.contiguous()
    return AnnotatedRows(*columns, rows, len(accuracies), classes), truth


def penalized_log_likelihood(data, shares, confusion, shared):
    """The objective, written row by row and class by class."""
    total = 0.0
    for row in range(data.row_count):
        of_row = (data.rows == row).nonzero()[:, 0].tolist()
        if of_row:
            joint = [
                shares[t]
                * torch.stack(
                    [confusion[data.annotators[i], t, data.labels[i]] for i in of_row]
                ).prod()
                for t in range(data.classes)
            ]
            total = total + torch.stack(joint).sum().log()
    prior = ANNOTATOR_PRIOR * (shared * confusion.log()).sum()
    return total + prior + SHARE_PRIOR * shares.log().sum()


def test_the_fixed_point_of_em_is_the_maximum_of_the_penalized_likelihood():
    """Brute force by L-BFGS over the logits of all probabilities, on a tiny table."""
    entries = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 0, 1), (1, 1, 1), (2, 0, 0), (2, 2, 0),
               (3, 1, 1), (3, 2, 1), (3, 0, 0), (4, 2, 0)]  # fmt: skip
    data = make(entries)
    model = fit_annotator_model(data)
    logits = [torch.zeros(2).double(), model.shared_confusion.log().repeat(3, 1, 1).contiguous()]
    for logit in logits:
        logit.requires_grad_()

    def evaluate():
        probabilities = logits[0].softmax(0), logits[1].softmax(2)
        return -penalized_log_likelihood(data, *probabilities, model.shared_confusion)

    optimizer = torch.optim.LBFGS(
        logits, max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-10,
        tolerance_change=1e-14,
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        value = evaluate()
        value.backward()
        return value

    optimizer.step(closure)
    assert torch.allclose(logits[0].softmax(0), model.class_shares, atol=1e-5)
    assert torch.allclose(logits[1].softmax(2), model.confusion, atol=1e-5)


def test_the_posterior_is_bayes_rule_on_every_row():
    data, _ = simulate(rows=30)
    model = fit_annotator_model(data)
    for row in range(30):
        joint = model.class_shares.clone()
        for i in (data.rows == row).nonzero()[:, 0].tolist():
            joint *= model.confusion[data.annotators[i], :, data.labels[i]]
        assert torch.allclose(model.posterior[row], joint / joint.sum(), atol=1e-6)


def test_known_confusion_matrices_are_recovered_and_beat_the_majority():
    data, truth = simulate(rows=2000, accuracies=(0.95, 0.75, 0.6, 0.6))
    model = fit_annotator_model(data)
    for annotator, accuracy in enumerate((0.95, 0.75, 0.6, 0.6)):
        expected = torch.full((3, 3), (1 - accuracy) / 2).fill_diagonal_(accuracy).double()
        assert torch.allclose(model.confusion[annotator], expected, atol=0.07)
    majority = float((count_votes(data).argmax(1) == truth).float().mean())
    consensus = float((model.consensus == truth).float().mean())
    assert consensus > majority + 0.03
    assert float(model.error_probability.mean()) == pytest.approx(1 - consensus, abs=0.02)


@pytest.mark.long
def test_the_intervals_cover_the_accuracies():
    """90 % intervals of 5 annotators in 40 tables: between 84 and 97 % of them, by the binomial."""
    accuracies = torch.tensor([0.9, 0.8, 0.8, 0.7, 0.6])
    covered = []
    for seed in range(40):
        data, _ = simulate(100, accuracies.tolist(), seed=seed, share=0.8)
        low, high = compute_accuracy_intervals(fit_annotator_model(data))
        covered.append((low <= accuracies) & (accuracies <= high))
    assert 0.84 <= float(torch.stack(covered).float().mean()) <= 0.97


def test_the_order_and_the_numbers_of_rows_and_annotators_have_no_effect():
    data, _ = simulate(rows=60, share=0.7)
    model = fit_annotator_model(data)
    generator = torch.Generator().manual_seed(1)
    row_ids, ids = (torch.randperm(n, generator=generator) for n in (60, 4))
    shuffled = torch.randperm(len(data.labels), generator=generator)
    columns = (row_ids[data.rows], ids[data.annotators], data.labels)
    other = fit_annotator_model(AnnotatedRows(*[c[shuffled] for c in columns], 60, 4, 3))
    assert torch.allclose(other.posterior[row_ids], model.posterior, atol=1e-6)
    assert torch.allclose(other.confusion[ids], model.confusion, atol=1e-6)


def test_the_names_of_the_classes_have_no_effect():
    data, _ = simulate(rows=60, share=0.7)
    turned = AnnotatedRows(data.rows, data.annotators, (data.labels + 1) % 3, 60, 4, 3)
    first, second = fit_annotator_model(data), fit_annotator_model(turned)
    assert torch.allclose(first.posterior, second.posterior.roll(-1, 1), atol=1e-6)


def test_an_annotator_of_one_row_is_like_the_others_with_a_wide_interval():
    data, _ = simulate(rows=200, accuracies=(0.9, 0.9, 0.9))
    columns = [data.rows, data.annotators, data.labels]
    added = [torch.cat([c, torch.tensor([v])]) for c, v in zip(columns, (0, 3, 0), strict=True)]
    model = fit_annotator_model(AnnotatedRows(*added, 200, 5, 3))
    assert float(model.accuracy[3]) == pytest.approx(float(model.accuracy[4]), abs=0.15)
    low, high = compute_accuracy_intervals(model)
    assert high[3] - low[3] > 0.5
    assert (low[4], high[4]) == (0.0, 1.0), "no annotations"
    assert (high[:3] - low[:3]).max() < 0.12


def test_the_interval_has_the_estimate_that_the_prior_moved():
    """Two rows, both labelled unlike everybody else's: likely 0 % right, shrunk to the others."""
    data, truth = simulate(rows=200, accuracies=(0.95, 0.95, 0.95, 0.95))
    other = (truth[:2] + 1) % 3
    columns = zip(
        (data.rows, data.annotators, data.labels),
        (torch.arange(2), torch.full((2,), 4), other),
        strict=True,
    )
    model = fit_annotator_model(AnnotatedRows(*map(torch.cat, columns), 200, 5, 3))
    low, high = compute_accuracy_intervals(model)
    assert low[4] < 0.1
    assert high[4] == pytest.approx(float(model.accuracy[4]))
    assert (low <= model.accuracy).all()


def test_rows_with_one_annotation_follow_it_and_rows_without_any_the_class_shares():
    data, _ = simulate(rows=100)
    columns = [data.rows, data.annotators, data.labels]
    added = [torch.cat([c, torch.tensor([v])]) for c, v in zip(columns, (100, 0, 2), strict=True)]
    model = fit_annotator_model(AnnotatedRows(*added, 102, 4, 3))
    assert int(model.consensus[100]) == 2
    expected = model.class_shares * model.confusion[0, :, 2]
    assert torch.allclose(model.posterior[100], expected / expected.sum(), atol=1e-6)
    assert torch.allclose(model.posterior[101], model.class_shares, atol=1e-6)


def test_an_annotator_who_always_gives_one_class_is_no_evidence():
    data, _ = simulate(rows=600, accuracies=(0.9, 0.85, 0.8))
    ids = torch.arange(600)
    lazy = [data.rows, ids], [data.annotators, 0 * ids + 3], [data.labels, 0 * ids + 1]
    model = fit_annotator_model(AnnotatedRows(*map(torch.cat, lazy), 600, 4, 3))
    alone = fit_annotator_model(data)
    assert (model.confusion[3, :, 1] > 0.95).all()
    assert float((model.consensus == alone.consensus).float().mean()) > 0.98
    assert float(model.accuracy[3]) == pytest.approx(1 / 3, abs=0.06)


def test_ties_of_equal_annotators_have_equal_probabilities_and_come_first():
    entries = [(row, a, row % 2) for row, a in itertools.product(range(10), range(2))]
    model = fit_annotator_model(make([*entries, (10, 0, 0), (10, 1, 1), (11, 0, 1), (11, 1, 0)]))
    assert torch.allclose(model.posterior[10:], torch.full((2, 2), 0.5).double(), atol=1e-3)
    assert set(model.review_order[:2].tolist()) == {10, 11}
    assert model.gain[10] > 0.2
    assert (model.gain[:10] < 0.01).all()


def test_the_gain_is_that_of_one_more_annotation():
    """By enumeration of the labels that it may have."""
    data, _ = simulate(rows=40, accuracies=(0.7, 0.6), share=0.8)
    model = fit_annotator_model(data)
    for row in range(40):
        q, after = model.posterior[row], 0.0
        for j in range(3):
            joint = q * model.shared_confusion[:, j]
            after += float(joint.sum()) * float((joint / joint.sum()).max())
        assert float(model.gain[row]) == pytest.approx(max(0.0, after - float(q.max())), abs=1e-9)


def test_class_probabilities_of_rows_are_their_prior():
    prior = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    data = make([(0, 0, 0), (1, 0, 1), (2, 0, 1)], prior=prior)
    model = fit_annotator_model(data)
    expected = prior * model.confusion[0][:, data.labels].T
    assert torch.allclose(model.posterior, expected / expected.sum(1, keepdim=True), atol=1e-6)
    assert compute_log_joint(data, data.annotators, model.class_shares, model.confusion).shape == (
        3, 2,
    )  # fmt: skip


def test_repeated_annotations_count_once_and_contradictions_are_refused():
    assert len(make([(0, 0, 1), (0, 0, 1), (0, 1, 0)]).labels) == 2
    with pytest.raises(InputError, match="row 0 by annotator 0"):
        make([(0, 0, 1), (0, 0, 0), (1, 0, 0)])


@pytest.mark.parametrize(
    ("entries", "keys", "words"),
    [
        ([(0, 0, 2)], {}, "labels: expected 0 to 1"),
        ([(0, -1, 0)], {"annotators": 1}, "annotators: expected 0 to 0"),
        ([(0, 0, 0)], {"classes": 1}, "two or more classes"),
    ],
)
def test_invalid_annotations_are_refused(entries, keys, words):
    with pytest.raises(InputError, match=words):
        make(entries, **keys)


@pytest.mark.parametrize(
    "prior",
    [[[0.5, 0.5]], [[0.5, float("nan")], [0.5, 0.5]], [[-0.5, 1.5], [0.5, 0.5]],
     [[0.0, 0.0], [0.5, 0.5]]],
)  # fmt: skip
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(InputError, match="prior"):
        make([(0, 0, 0), (1, 0, 1)], prior=torch.tensor(prior))


def test_the_scale_of_the_prior_is_ignored():
    prior = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], dtype=torch.float64)
    scaled = prior * torch.tensor([[1.0], [20.0], [300.0]])
    entries = [(0, 0, 0), (1, 0, 1), (2, 0, 1), (2, 1, 0)]
    first, second = (fit_annotator_model(make(entries, prior=p)) for p in (prior, scaled))
    torch.testing.assert_close(first.posterior, second.posterior, atol=1e-8, rtol=0)
