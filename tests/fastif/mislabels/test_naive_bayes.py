"""Multinomial naive Bayes against scikit-learn, and its use where features are uninformative."""

from dataclasses import replace

import pytest
import torch
from scipy.sparse import csr_matrix, vstack
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import MultinomialNB
from torch.nn.functional import one_hot

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData, TrustedData
from fastif.mislabels.naive_bayes import PSEUDO_COUNT, NaiveBayes
from fastif.mislabels.tfidf import tf_idf
from tests.fastif.mislabels.noisy_clouds import flip_labels


def make_word_rows(n=300, classes=3, share=0.2):
    """Rows with uninformative features and informative words; and their true labels."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(n) % classes
    common = torch.randint(0, 30, (n, 6), generator=generator)
    own = 30 + 10 * truth[:, None] + torch.randint(0, 10, (n, 6), generator=generator)
    terms = tf_idf([list(torch.cat([common, own], 1))])
    features = concat_views([torch.randn(n, 8, generator=generator)])
    return LabeledData(features, flip_labels(truth, share, classes), classes, terms=(terms,)), truth


def test_naive_bayes_matches_scikit_learn():
    rows, _ = make_word_rows()
    parts = assign_group_folds(rows.group_ids, 5, 0).numpy()
    actual = NaiveBayes(folds=5, repeats=1, seed=0)(
        rows.terms[0], rows, one_hot(rows.labels, 3).float()
    )
    for part in range(5):
        away = parts == part
        other = MultinomialNB(alpha=PSEUDO_COUNT, fit_prior=False)
        other.fit(rows.terms[0][~away], rows.labels.numpy()[~away])
        reference = other.predict_log_proba(rows.terms[0][away])
        assert actual.numpy()[away] == pytest.approx(reference, abs=1e-5)


def test_rows_that_no_label_fits_have_weight_zero():
    rows, _ = make_word_rows()
    dropped = torch.arange(len(rows.labels)) % 7 == 0
    known = torch.full_like(rows.labels, NOT_REVIEWED).masked_fill(dropped, NO_LABEL_FITS)
    flipped = torch.where(dropped, (rows.labels + 1) % 3, rows.labels)
    results = [
        NaiveBayes()(rows.terms[0], replace(rows, known=known), one_hot(labels, 3).float())
        for labels in (rows.labels, flipped)
    ]
    assert torch.equal(*results)


@pytest.mark.long
def test_words_find_errors_that_features_miss():
    rows, truth = make_word_rows()
    wrong = (rows.labels != truth).numpy()
    with_words = MislabelDetector()(rows)
    without = MislabelDetector()(replace(rows, terms=()))
    assert "word_loss" in with_words.label_scores
    assert "word_loss" not in without.label_scores
    assert average_precision_score(wrong, with_words.probability) > 0.95
    assert average_precision_score(wrong, without.probability) < 0.5


def split_trusted(rows, truth, count=60):
    """Split off the last rows as trusted ones."""
    last = torch.arange(len(truth)) >= len(truth) - count
    terms = tuple(csr_matrix(matrix[last.numpy()]) for matrix in rows.terms)
    trusted = TrustedData(rows.features[last], truth[last], rows.classes, terms)
    return rows.select(~last), truth[~last], trusted


def test_naive_bayes_is_trained_on_trusted_rows_too():
    rows, _, trusted = split_trusted(*make_word_rows())
    given_labels = one_hot(rows.labels, 3).float()
    own, for_trusted = NaiveBayes().cross_fit_with_trusted(
        (rows.terms[0], trusted.terms[0]), rows, [given_labels] * 5, trusted
    )
    parts = assign_group_folds(rows.group_ids, 5, 0).numpy()
    within = assign_group_folds(torch.arange(60), 5, 0).numpy()
    for part in range(5):
        away, out = parts == part, within == part
        other = MultinomialNB(alpha=PSEUDO_COUNT, fit_prior=False)
        counts = vstack([rows.terms[0][~away], trusted.terms[0][~out]])
        other.fit(counts, torch.cat([rows.labels[~away], trusted.labels[~out]]).numpy())
        expected = (
            other.predict_log_proba(rows.terms[0][away]),
            other.predict_log_proba(trusted.terms[0][out]),
        )
        assert own.numpy()[away] == pytest.approx(expected[0], abs=1e-5)
        assert for_trusted.numpy()[out] == pytest.approx(expected[1], abs=1e-5)


@pytest.mark.long
def test_words_find_errors_that_features_miss_with_trusted_rows():
    rows, truth, trusted = split_trusted(*make_word_rows())
    wrong = (rows.labels != truth).numpy()
    with_words = MislabelDetector()(rows, trusted)
    without = MislabelDetector()(replace(rows, terms=()), trusted)
    assert average_precision_score(wrong, with_words.probability) > 0.95
    assert average_precision_score(wrong, without.probability) < 0.5


def test_selected_rows_keep_their_terms():
    rows, _ = make_word_rows()
    some = torch.arange(len(rows.labels)) % 2 == 0
    kept = rows.select(some)
    assert (kept.terms[0] != rows.terms[0][some.numpy()]).nnz == 0
    assert torch.isfinite(NaiveBayes()(kept.terms[0], kept, one_hot(kept.labels, 3).float())).all()
