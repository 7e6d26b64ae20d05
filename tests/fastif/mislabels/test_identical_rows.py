"""Labels of identical rows are annotations of one true class, where they contradict."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.identical_rows import (
    compute_pooled_posterior,
    mask_contradicted,
    pool_identical_labels,
    spread_reviews,
)
from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData
from tests.fastif.mislabels.noisy_clouds import make_rows

T = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8]], dtype=torch.float64)


def make_data(contents, labels, known=None):
    n = len(labels)
    return LabeledData(
        torch.eye(n), torch.tensor(labels), 3, contents=torch.tensor(contents),
        known=None if known is None else torch.tensor(known),
    )  # fmt: skip


def make_p(contents):
    generator = torch.Generator().manual_seed(0)
    by_content = torch.rand(max(contents) + 1, 3, generator=generator, dtype=torch.float64) + 0.1
    return (by_content / by_content.sum(1, keepdim=True))[torch.tensor(contents)]


@pytest.mark.parametrize("labels", [[0, 1], [2, 0], [0, 1, 2]])
def test_labels_of_a_pair_are_independent_annotations(labels):
    """Against a sum over the true classes of the joint probability, each label counted once."""
    contents = [*[0] * len(labels), 1]
    p = make_p(contents)
    pooled = compute_pooled_posterior(p, make_data(contents, [*labels, 1]), T)
    prior, noise = p[0].numpy(), T.numpy()
    joint = np.array([prior[t] * np.prod([noise[t, y] for y in labels]) for t in range(3)])
    for i in range(len(labels)):
        np.testing.assert_allclose(pooled[i].numpy(), joint / joint.sum(), rtol=1e-12)
    alone = p[-1].numpy() * noise[:, 1]
    np.testing.assert_allclose(pooled[-1].numpy(), alone / alone.sum(), rtol=1e-12)


def test_a_majority_counts_and_copies_are_bounded():
    p = torch.full((104, 3), 1 / 3, dtype=torch.float64)
    few = [0, 0, 0, 1]
    many = [*[0] * 99, 1]
    rows = make_data([*[0] * 4, *[1] * 100], few + many)
    posterior = compute_pooled_posterior(p, rows, T)
    for start, share in ((0, 0.75), (4, 0.99)):
        joint = (1 / 3) * T[:, 0].numpy() ** (2 * share) * T[:, 1].numpy() ** (2 * (1 - share))
        np.testing.assert_allclose(posterior[start].numpy(), joint / joint.sum(), rtol=1e-9)
    assert posterior[3, 1] < 0.5 < posterior[0, 0]  # the minority is suspicious
    assert posterior[103, 0] < 0.95  # 99 equal labels are no 99 annotations


def test_equal_labels_and_other_contents_are_unchanged():
    contents, labels = [0, 0, 1, 2, 2], [1, 1, 0, 2, 2]
    p, rows = make_p(contents), make_data(contents, labels)
    assert not mask_contradicted(rows).any()
    assert pool_identical_labels(p, rows, T) is p
    without = replace(rows, contents=None)
    assert torch.equal(
        compute_pooled_posterior(p, rows, T), compute_pooled_posterior(p, without, T)
    )


@pytest.mark.parametrize("right", [0, NO_LABEL_FITS])
def test_reviewed_rows_are_no_contradiction(right):
    rows = make_data([0, 0, 1, 1], [0, 1, 0, 1], [right, NOT_REVIEWED, NOT_REVIEWED, NOT_REVIEWED])
    assert mask_contradicted(rows).tolist() == [False, False, True, True]


def test_a_transition_of_zeros_excludes_no_class():
    rows = make_data([0, 0], [0, 1])
    p = torch.tensor([[0.6, 0.3, 0.1]] * 2, dtype=torch.float64)
    pooled = pool_identical_labels(p, rows, torch.eye(3, dtype=torch.float64))
    assert torch.isfinite(pooled).all()
    np.testing.assert_allclose(pooled.sum(1).numpy(), 1, rtol=1e-12)


def contradict(share=0.3, n=300, apart=2.0):
    """Clean rows, and second copies of some with another label; and the mask of wrong labels."""
    clean, truth = make_rows(0.0, n, apart=apart)
    copied = torch.randperm(n, generator=torch.Generator().manual_seed(7))[: round(share * n)]
    ids = torch.cat([torch.arange(n), copied])
    labels = torch.cat([truth, (truth[copied] + 1) % 3])
    return LabeledData(clean.features[ids], labels, 3, ids, contents=ids), labels != truth[ids]


@pytest.mark.long
def test_contradicting_copies_are_ranked_first():
    rows, wrong = contradict()
    detector = MislabelDetector(repeats=1)
    pooled = detector(rows)
    without = detector(replace(rows, contents=None))
    scores = [
        average_precision_score(wrong.numpy(), each.numpy())
        for each in (pooled.probability, without.probability, without.label_scores["loss"])
    ]
    assert scores[0] > max(scores[1:]) + 0.01, scores
    pairs = mask_contradicted(rows)
    assert 0.9 < float(pooled.probability[pairs].sum()) / (int(pairs.sum()) / 2) < 1.2
    copies = pooled.suggested[wrong] == rows.labels[: len(wrong)][rows.contents[wrong]]
    assert copies.float().mean() > 0.9  # the suggestion is the label of the other row


@pytest.mark.long
def test_results_do_not_depend_on_the_numbers_of_contents():
    rows, _ = contradict(n=60)
    detector = MislabelDetector(repeats=1)
    renumbered = replace(rows, contents=1000 - 3 * rows.contents)
    assert torch.equal(detector(rows).probability, detector(renumbered).probability)


def test_selected_rows_keep_their_contents():
    rows, _ = contradict(n=60)
    mask = torch.arange(len(rows.labels)) % 2 == 0
    assert torch.equal(rows.select(mask).contents, rows.contents[mask])


def test_reviews_decide_identical_rows_unless_they_differ():
    n, none = NOT_REVIEWED, NO_LABEL_FITS
    known = torch.tensor([2, n, none, n, 0, 1, n, n, 0, 0, n])
    contents = torch.tensor([7, 7, 5, 5, 3, 3, 3, 1, 0, 0, 0])
    spread = spread_reviews(known, contents)
    assert spread.tolist() == [2, 2, none, none, 0, 1, n, n, 0, 0, 0]
    assert torch.equal(spread_reviews(torch.full((3,), n), torch.arange(3)), torch.full((3,), n))
