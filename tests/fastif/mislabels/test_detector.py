"""Wrong labels are found where they can be, and what cannot be judged is said or refused."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import MultinomialNB
from torch.nn.functional import one_hot

from fastif import InputError
from fastif.mislabels.calibration import calibrate_logits, stack_logits
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import (
    compute_lsa,
    concat_views,
    make_tabular_features,
    standardize_robustly,
)
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.injected_flips import inject_flips, measure_flip_recall
from fastif.mislabels.knn import find_neighbours, smooth_logits
from fastif.mislabels.labeled_data import (
    NO_LABEL_FITS,
    NOT_REVIEWED,
    LabeledData,
    TrustedData,
)
from fastif.mislabels.linear_head import (
    BIAS_PENALTY,
    fit_linear_head,
)
from fastif.mislabels.naive_bayes import PSEUDO_COUNT, NaiveBayes
from fastif.mislabels.noise_model import (
    compute_posterior,
    fit_joint_mle,
    fit_noise_model,
    fit_transition_em,
    make_initial_transition,
)
from fastif.mislabels.opinion_pool import pool_opinions
from fastif.mislabels.scores import compute_head_self_influence
from fastif.mislabels.second_round_check import second_round_improves
from fastif.mislabels.text_embeddings import make_pair_features
from fastif.mislabels.tfidf import char_trigrams, tf_idf


def make_clouds(n=300, classes=3, apart=4.0, seed=0):
    """Well separated classes, and their true labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.eye(classes, 8)
    truth = torch.arange(n) % classes
    return centres[truth] + torch.randn(n, 8, generator=generator), truth


def flip_labels(truth, share, classes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = truth.clone()
    picked = torch.randperm(len(truth), generator=generator)[: round(share * len(truth))]
    turn = torch.randint(1, classes, (len(picked),), generator=generator)
    labels[picked] = (labels[picked] + turn) % classes
    return labels


def make_rows(share=0.1, n=300, classes=3, apart=4.0, **keys):
    points, truth = make_clouds(n, classes, apart)
    return LabeledData(
        concat_views([points]), flip_labels(truth, share, classes), classes, **keys
    ), truth


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_planted_errors_in_separable_data_are_all_found(share):
    rows, truth = make_rows(share, n=900, apart=9.0)
    wrong = rows.labels != truth
    label_posterior = MislabelDetector()(rows)
    assert label_posterior.probability[wrong].min() > label_posterior.probability[~wrong].max()
    assert torch.equal(label_posterior.suggested[wrong], truth[wrong])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_the_number_of_errors_is_within_its_interval(share):
    rows, truth = make_rows(share, n=3000, apart=3.0)
    errors = MislabelDetector()(rows).estimate_modelled_errors()
    assert errors.low <= int((rows.labels != truth).sum()) <= errors.high


def test_probabilities_are_what_they_say():
    """In ten groups of like probability as many are wrong as expected, within five points."""
    rows, truth = make_rows(0.2, n=3000, apart=2.0)
    wrong, p = (rows.labels != truth).float(), MislabelDetector()(rows).probability
    gaps = [abs(float(p[part].mean() - wrong[part].mean())) for part in p.argsort().chunk(10)]
    assert sum(gaps) / 10 < 0.05


def test_the_probability_is_better_than_a_loss_that_has_not_seen_the_row():
    rows, truth = make_rows(0.25, n=600, apart=2.0)
    wrong = (rows.labels != truth).numpy()
    label_posterior = MislabelDetector()(rows)
    ours = average_precision_score(wrong, label_posterior.probability)
    assert ours > average_precision_score(wrong, label_posterior.label_scores["loss"])


def test_half_of_the_labels_wrong_is_answered():
    rows, truth = make_rows(0.5, n=600)
    label_posterior = MislabelDetector()(rows)
    wrong = (rows.labels != truth).numpy()
    assert average_precision_score(wrong, label_posterior.probability) > 0.95


def test_rows_in_another_order_are_believed_the_same_when_their_groups_are():
    rows, _ = make_rows(0.1)
    rows = replace(rows, groups=torch.arange(len(rows.labels)))
    label_posterior = MislabelDetector()(rows)
    shuffled = torch.randperm(len(rows.labels), generator=torch.Generator().manual_seed(5))
    other = MislabelDetector()(
        LabeledData(rows.features[shuffled], rows.labels[shuffled], 3, groups=rows.groups[shuffled])
    )
    assert torch.allclose(other.probability, label_posterior.probability[shuffled], atol=1e-3)


def test_constant_features_say_nothing_but_are_answered():
    _, truth = make_clouds()
    rows = LabeledData(concat_views([torch.ones(300, 4)]), flip_labels(truth, 0.1, 3), 3)
    label_posterior = MislabelDetector()(rows)
    assert torch.isfinite(label_posterior.probability).all()
    assert abs(label_posterior.pseudo_r2) < 0.05
    assert MislabelDetector()(make_rows(0.1)[0]).pseudo_r2 > 0.4


def test_a_class_with_one_row_is_answered():
    points, truth = make_clouds(classes=2)
    labels = truth.clone()
    labels[7] = 2
    label_posterior = MislabelDetector()(LabeledData(concat_views([points]), labels, 3))
    assert torch.isfinite(label_posterior.probability).all()
    assert label_posterior.probability.argmax() == 7


@pytest.mark.parametrize("n", [2, 3, 5])
def test_very_few_rows_are_answered(n):
    labels = torch.arange(n) % 2
    label_posterior = MislabelDetector()(LabeledData(torch.randn(n, 3), labels, 2))
    assert torch.isfinite(label_posterior.probability).all()


def test_duplicates_are_in_one_fold():
    groups = torch.tensor([4, 4, 4, 9, 9, 1, 2, 3])
    parts = assign_group_folds(groups, 3, seed=0)
    assert len(parts[:3].unique()) == len(parts[3:5].unique()) == 1
    assert len(parts.unique()) == 3


def test_a_wrong_duplicate_does_not_vouch_for_itself():
    """Twenty copies of one wrong row: cut into folds one by one they would defend each other."""
    points, truth = make_clouds(200, 2, apart=2.0)
    points = torch.cat([points, points[:1].expand(20, -1)])
    labels = torch.cat([truth, (1 - truth[:1]).expand(20)])
    groups = torch.cat([torch.arange(200), torch.zeros(20, dtype=torch.long)])
    detector = MislabelDetector(neighbours=1)
    apart = detector(LabeledData(concat_views([points]), labels, 2)).label_scores["loss"][200:]
    together = detector(LabeledData(concat_views([points]), labels, 2, groups)).label_scores[
        "loss"
    ][200:]
    assert (together > apart + 0.5).all()


def test_one_class_is_refused():
    with pytest.raises(InputError, match="two or more classes"):
        LabeledData(torch.randn(5, 2), torch.zeros(5, dtype=torch.long), 2)


def test_one_row_again_and_again_is_refused():
    rows = LabeledData(
        torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), 2, torch.zeros(4, dtype=torch.long)
    )
    with pytest.raises(InputError, match="two or more different rows"):
        MislabelDetector()(rows)


def test_features_that_are_not_finite_are_refused():
    features = torch.randn(5, 2)
    features[3, 1] = torch.nan
    with pytest.raises(InputError, match="row 3"):
        LabeledData(features, torch.tensor([0, 1, 0, 1, 0]), 2)


def test_trusted_rows_show_noise_that_follows_the_features():
    """Everything on one side of a line is called 1: no classifier of these labels sees it."""
    points, truth = make_clouds(600, 2, apart=2.0)
    labels = torch.where(points[:, 5] > 0.5, 1, truth)
    wrong = labels != truth
    sure, known = make_clouds(200, 2, apart=2.0, seed=9)
    features = concat_views([torch.cat([points, sure])])
    rows = LabeledData(features[:600], labels, 2)
    alone = MislabelDetector()(rows)
    taught = MislabelDetector()(rows, TrustedData(features[600:], known, 2))
    scores = [average_precision_score(wrong.numpy(), f.probability) for f in (alone, taught)]
    assert scores[1] > 0.8 > scores[0] + 0.2


def test_too_few_trusted_rows_are_refused():
    with pytest.raises(InputError, match="two or more of each class"):
        TrustedData(torch.randn(3, 2), torch.tensor([0, 0, 1]), 2)


def test_what_people_have_seen_is_believed_and_taught():
    rows, truth = make_rows(0.3, apart=1.5)
    known = torch.full_like(truth, NOT_REVIEWED)
    known[:150] = truth[:150]
    known[0] = NO_LABEL_FITS
    label_posterior = MislabelDetector()(replace(rows, known=known))
    assert torch.equal(label_posterior.posterior[1:150].argmax(1), truth[1:150])
    assert torch.equal(label_posterior.probability[1:150] > 0.5, (rows.labels != truth)[1:150])
    rest = (rows.labels != truth)[150:].numpy()
    before = average_precision_score(rest, MislabelDetector()(rows).probability[150:])
    assert average_precision_score(rest, label_posterior.probability[150:]) > before


def test_canaries_leave_the_labels_alone_and_differ_from_them():
    rows, _ = make_rows(0.1)
    label_posterior = MislabelDetector()(rows)
    before = rows.labels.clone()
    planted = inject_flips(rows, label_posterior.posterior, 0.2, seed=3)
    assert torch.equal(rows.labels, before)
    assert len(planted.rows) == 60
    assert (planted.labels[planted.rows] != before[planted.rows]).all()
    away = torch.ones(300, dtype=torch.bool)
    away[planted.rows] = False
    assert torch.equal(planted.labels[away], before[away])


@pytest.mark.parametrize("budget", [60, 10, 3])
def test_a_perfect_order_has_a_recall_of_one_whatever_the_budget(budget):
    """Fifteen labels are wrong and separable: more than the smaller budgets hold."""
    rows, truth = make_rows(0.05, apart=9.0)
    label_posterior = MislabelDetector()(rows)
    wrong = rows.labels != truth
    assert label_posterior.probability[wrong].min() > label_posterior.probability[~wrong].max()
    recall = measure_flip_recall(MislabelDetector(), rows, label_posterior, budget)
    assert recall.budget <= budget
    assert (recall.any, recall.confusable) == (1.0, 1.0)


@pytest.mark.parametrize("budget", [20, 300])
def test_an_order_by_chance_has_a_low_recall_also_where_the_budget_holds_all_rows(budget):
    """Features say nothing: of the flips about as many come first as rows do."""
    generator = torch.Generator().manual_seed(4)
    rows = LabeledData(
        concat_views([torch.randn(300, 4, generator=generator)]), torch.arange(300) % 3, 3
    )
    recall = measure_flip_recall(MislabelDetector(), rows, MislabelDetector()(rows), budget)
    assert recall.any < 0.5
    assert recall.confusable < 0.5


def test_the_head_is_that_of_another_library():
    points, truth = make_clouds(200, 3, apart=1.0)
    x, penalty = points.double(), 1e-2
    ours = fit_linear_head(x, torch.nn.functional.one_hot(truth, 3).double(), penalty)
    theirs = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=1000).fit(x, truth)
    p = torch.from_numpy(theirs.predict_proba(x))
    assert torch.allclose(ours(x).softmax(1), p, atol=2e-3)


def test_calibration_brings_back_what_shrinking_took():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    back = calibrate_logits(logits / 10 + torch.tensor([0.0, 1.0, 0.0]), labels)
    assert (back.softmax(1) - logits.softmax(1)).abs().mean() < 0.02


def test_noise_is_estimated_as_it_was_made():
    generator = torch.Generator().manual_seed(0)
    noise = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]])
    truth = torch.randint(0, 3, (6000,), generator=generator)
    p = calibrated_posteriors(truth, generator)
    labels = torch.multinomial(noise[truth], 1, generator=generator)[:, 0]
    assert (fit_transition_em(p, labels, make_initial_transition(3)) - noise).abs().max() < 0.03


def test_noise_and_certainty_are_told_apart():
    """Logits of known meaning, twice too small: both the noise and the factor are found again."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.1, 0.1, 0.8]])
    truth = torch.randint(0, 3, (9000,), generator=generator)
    sure = calibrated_posteriors(truth, generator)
    labels = torch.multinomial(noise[truth], 1, generator=generator)[:, 0]
    p, transition = fit_noise_model(sure.log() / 2, labels)
    assert (transition - noise).abs().max() < 0.05
    assert (p - sure).abs().mean() < 0.02


def calibrated_posteriors(truth, generator):
    """p(t | x) of a classifier that sees the class through noise, by Bayes' rule."""
    logits = 2.5 * torch.nn.functional.one_hot(truth, 3) + torch.randn(
        len(truth), 3, generator=generator
    )
    return (2.5 * logits).softmax(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_a_belief_is_a_distribution(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(20, classes, generator=generator).softmax(1)
    labels = torch.randint(0, classes, (20,), generator=generator)
    belief = compute_posterior(p, labels, make_initial_transition(classes))
    assert torch.allclose(belief.sum(1), torch.ones(20))
    assert (belief.gather(1, labels[:, None]) >= p.gather(1, labels[:, None])).all()


def test_self_influence_is_that_of_training_without_the_row():
    """Two classes: one row of weights, and the blocks are the whole Hessian of each."""
    points, truth = make_clouds(40, 2, apart=1.0)
    x, penalty = concat_views([points]).double(), 1e-1
    targets = torch.nn.functional.one_hot(truth, 2).double()
    head = fit_linear_head(x, targets, penalty)
    logits = head(x)
    actual = compute_head_self_influence(x.float(), truth, logits.float(), logits.float(), penalty)
    really = []
    for row in range(len(x)):
        kept = torch.arange(len(x)) != row
        other = fit_linear_head(x[kept], targets[kept], penalty)
        before, after = (h(x[row : row + 1]).log_softmax(1)[0, truth[row]] for h in (head, other))
        really.append(float(before - after))
    ranks = [torch.tensor(v).argsort().argsort().double() for v in (actual.tolist(), really)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9


def test_neighbours_are_the_nearest_by_cosine_and_never_the_row_itself():
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    features[10:13] = features[9]
    neighbour_ids = find_neighbours(features, 4)
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    dense = unit @ unit.T
    dense.fill_diagonal_(-2)
    assert not (neighbour_ids == torch.arange(50)[:, None]).any()
    assert torch.allclose(dense.gather(1, neighbour_ids), dense.topk(4, 1).values, atol=1e-5)


def test_words_are_weighed_as_another_library_does():
    texts = [[torch.tensor(row) for row in ([1, 2, 2], [2, 3], [1, 3, 3, 3], [2])]]
    matrix = tf_idf(texts).toarray()
    # Words 1, 2, 3; the only pair in two texts is none of them, so none is kept.
    counts = [[1, 2, 0], [0, 1, 1], [1, 0, 3], [0, 1, 0]]
    theirs = TfidfTransformer(sublinear_tf=True, smooth_idf=False).fit_transform(counts).toarray()
    assert matrix == pytest.approx(theirs, abs=1e-6)


def test_letters_are_weighed_as_another_library_does():
    texts = ["Na gode sosai", "na gode, aboki", "sosai ne ba", "", "NE  ba\n na"] * 2 + ["alone"]
    theirs = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), min_df=2, sublinear_tf=True, smooth_idf=False
    )
    assert char_trigrams(texts).toarray() == pytest.approx(theirs.fit_transform(texts).toarray())


def test_terms_do_not_depend_on_the_order_of_rows():
    texts = ["one two three", "two three", "three one", "two one"]
    order = [2, 0, 3, 1]
    turned = char_trigrams([texts[i] for i in order])
    assert (turned.toarray() == char_trigrams(texts).toarray()[order]).all()


def test_words_in_few_dimensions_keep_the_angles():
    generator = torch.Generator().manual_seed(0)
    texts = [[torch.randint(0, 12, (8,), generator=generator) for _ in range(30)]]
    full = torch.from_numpy(tf_idf(texts).toarray()).float()
    left, sizes, _ = torch.linalg.svd(full, full_matrices=False)
    best = (left[:, :9] * sizes[:9]) @ (left[:, :9] * sizes[:9]).T
    kept = compute_lsa(tf_idf(texts), 9)
    assert torch.allclose(kept @ kept.T, best, atol=1e-4)


def make_word_rows(n=300, classes=3, share=0.2):
    """Rows whose features are noise and whose words tell their class; and true labels."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(n) % classes
    common = torch.randint(0, 30, (n, 6), generator=generator)
    own = 30 + 10 * truth[:, None] + torch.randint(0, 10, (n, 6), generator=generator)
    terms = tf_idf([list(torch.cat([common, own], 1))])
    features = concat_views([torch.randn(n, 8, generator=generator)])
    return LabeledData(features, flip_labels(truth, share, classes), classes, terms=(terms,)), truth


def test_words_are_counted_as_another_library_does():
    rows, _ = make_word_rows()
    parts = assign_group_folds(rows.group_ids, 5, 0).numpy()
    actual = NaiveBayes(folds=5, repeats=1, seed=0)(
        rows.terms[0], rows, one_hot(rows.labels, 3).float()
    )
    for part in range(5):
        away = parts == part
        other = MultinomialNB(alpha=PSEUDO_COUNT, fit_prior=False)
        other.fit(rows.terms[0][~away], rows.labels.numpy()[~away])
        theirs = other.predict_log_proba(rows.terms[0][away])
        assert actual.numpy()[away] == pytest.approx(theirs, abs=1e-5)


def test_rows_that_no_label_fits_are_not_counted():
    rows, _ = make_word_rows()
    dropped = torch.arange(len(rows.labels)) % 7 == 0
    known = torch.full_like(rows.labels, NOT_REVIEWED).masked_fill(dropped, NO_LABEL_FITS)
    turned = torch.where(dropped, (rows.labels + 1) % 3, rows.labels)
    results = [
        NaiveBayes()(rows.terms[0], replace(rows, known=known), one_hot(labels, 3).float())
        for labels in (rows.labels, turned)
    ]
    assert torch.equal(*results)


def test_what_features_do_not_tell_words_do():
    rows, truth = make_word_rows()
    wrong = (rows.labels != truth).numpy()
    with_words = MislabelDetector()(rows)
    without = MislabelDetector()(replace(rows, terms=()))
    assert "word_loss" in with_words.label_scores
    assert "word_loss" not in without.label_scores
    assert average_precision_score(wrong, with_words.probability) > 0.95
    assert average_precision_score(wrong, without.probability) < 0.5


def split_trusted(rows, truth, count=60):
    """The last rows as trusted ones, and the others."""
    last = torch.arange(len(truth)) >= len(truth) - count
    terms = tuple(csr_matrix(matrix[last.numpy()]) for matrix in rows.terms)
    trusted = TrustedData(rows.features[last], truth[last], rows.classes, terms)
    return rows.select(~last), truth[~last], trusted


def test_words_of_trusted_rows_are_counted_too():
    rows, _, trusted = split_trusted(*make_word_rows())
    given_labels = one_hot(rows.labels, 3).float()
    own, theirs = NaiveBayes().cross_fit_with_trusted(
        (rows.terms[0], trusted.terms[0]), rows, given_labels, trusted
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
        assert theirs.numpy()[out] == pytest.approx(expected[1], abs=1e-5)


def test_with_trusted_rows_words_weigh_what_they_tell():
    rows, truth, trusted = split_trusted(*make_word_rows())
    wrong = (rows.labels != truth).numpy()
    with_words = MislabelDetector()(rows, trusted)
    without = MislabelDetector()(replace(rows, terms=()), trusted)
    assert average_precision_score(wrong, with_words.probability) > 0.95
    assert average_precision_score(wrong, without.probability) < 0.5


def test_judges_are_weighed_by_labels_that_are_certain():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    good = 0.5 * torch.eye(2)[labels] + torch.randn(400, 2, generator=generator)
    noise = torch.randn(400, 2, generator=generator)
    logits = torch.randn(5, 2, generator=generator), torch.randn(5, 2, generator=generator)
    actual = stack_logits([(logits[0], good), (logits[1], noise)], labels)
    lead = torch.stack([z[:, 1] - z[:, 0] for z in (good, noise)], 1).numpy()
    other = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8).fit(lead, labels.numpy())
    theirs = sum(float(a) * z for a, z in zip(other.coef_[0], logits, strict=True))
    assert torch.allclose(actual, theirs, atol=1e-3)


def test_a_pool_is_the_mean_of_probabilities_by_skill():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    judges = [
        strength * one_hot(labels, 3) + torch.randn(600, 3, generator=generator)
        for strength in (2.0, 1.0)
    ]
    probabilities, shares = [], []
    for logits in judges:
        # Temperature and biases by another library: one number for all, and one a class.
        lead = np.zeros((600, 3, 4))
        lead[:, :, 0] = logits.numpy()
        lead[:, range(3), range(1, 4)] = 1.0

        def loss(x, lead=lead):
            z = lead @ x
            p = z - np.logaddexp.reduce(z, 1, keepdims=True)
            return -p[range(600), labels.numpy()].mean() + BIAS_PENALTY * (x[1:] ** 2).sum()

        best = minimize(loss, np.array([1.0, 0, 0, 0]), method="BFGS", options={"gtol": 1e-8}).x
        z = lead @ best
        log_p = z - np.logaddexp.reduce(z, 1, keepdims=True)
        probabilities.append(np.exp(log_p))
        shares.append(1 + log_p[range(600), labels.numpy()].mean() / np.log(3))
    weights = np.array(shares) / sum(shares)
    theirs = np.tensordot(weights, np.stack(probabilities), 1)
    assert pool_opinions(judges, labels).exp().numpy() == pytest.approx(theirs, abs=1e-4)


def test_judges_that_know_nothing_count_alike():
    logits = torch.zeros(6, 2)
    labels = torch.arange(6) % 2
    assert torch.allclose(pool_opinions([logits, logits], labels).exp(), torch.full((6, 2), 0.5))


def test_a_sure_judge_is_not_overruled_by_surer_ones():
    """Where one judge says another class, the label is doubted more than by a product of all."""
    labels = torch.arange(400) % 2
    right = 6.0 * one_hot(labels, 2).float()
    follows = right.clone()
    other = right.clone()
    other[0] = other[0].flip(0)
    doubt = 1 - pool_opinions([follows, other], labels).exp()[0, 0]
    assert float(doubt) > 0.3


def test_some_rows_keep_their_words():
    rows, _ = make_word_rows()
    some = torch.arange(len(rows.labels)) % 2 == 0
    kept = rows.select(some)
    assert (kept.terms[0] != rows.terms[0][some.numpy()]).nnz == 0
    assert torch.isfinite(NaiveBayes()(kept.terms[0], kept, one_hot(kept.labels, 3).float())).all()


def test_views_weigh_the_same_whatever_their_widths():
    wide, narrow = torch.randn(500, 64), 100 * torch.randn(500, 2) + 7
    both = concat_views([wide, narrow])
    lengths = both[:, :64].square().sum(1).mean(), both[:, 64:].square().sum(1).mean()
    assert lengths == (pytest.approx(0.5, rel=1e-3), pytest.approx(0.5, rel=1e-3))


def test_a_pair_is_compared():
    assert make_pair_features(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [
        [1, 1, 0, 0, 1, 1, 0, 0]
    ]


def make_overlapping(share, n=1000):
    """Four classes of which many features tell little, and true labels.

    The seed is one where the rounds differ by much: by little, the processor's rounding decides.
    """
    generator = torch.Generator().manual_seed(1)
    truth = torch.arange(n) % 4
    points = 2 * torch.eye(4, 300)[truth] + torch.randn(n, 300, generator=generator)
    return LabeledData(concat_views([points]), flip_labels(truth, share, 4), 4), truth


@pytest.mark.parametrize(
    ("of", "pays"), [(make_overlapping(0.02), False), (make_rows(0.4, 2000), True)]
)
def test_labels_are_fitted_again_only_where_that_explains_labels_put_aside(of, pays):
    """And where it does not, the ranking by the first fit is the better one."""
    rows, truth = of
    near, crossing = find_neighbours(rows.features, 20), MislabelDetector()._cross_fitter
    assert second_round_improves(rows, near, crossing) is pays
    given_labels = one_hot(rows.labels, rows.classes).float()
    once = MislabelDetector()._pool_and_fit_noise(rows, [crossing(rows, given_labels)], near)
    twice = MislabelDetector()._pool_and_fit_noise(rows, [crossing(rows, once[1])], near)
    wrong = (rows.labels != truth).numpy()
    first, second = (
        average_precision_score(wrong, 1 - belief.gather(1, rows.labels[:, None])[:, 0])
        for belief in (once[1], twice[1])
    )
    assert (second >= first) is pays


def test_neighbours_that_were_put_aside_say_nothing():
    own = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    near = torch.tensor([[1, -1], [-1, -1]])
    alone = smooth_logits(own, own, near)
    assert torch.equal(alone[1], own.log_softmax(1)[1])
    assert torch.allclose(alone[0], (own.log_softmax(1)[0] + own.log_softmax(1)[1]) / 2)


@pytest.mark.parametrize("seed", [74, 106, 132])
def test_logits_that_say_nothing_or_the_contrary_have_an_answer(seed):
    """With these the line search of the fit once went where exp overflows."""
    generator = torch.Generator().manual_seed(seed)
    n, classes = [60, 200, 600, 2000][seed % 4], [2, 3][seed // 4 % 2]
    logits = torch.randn(n, classes, generator=generator) * [1e-3, 1e-1, 1, 5][seed // 8 % 4]
    labels = torch.randint(0, classes, (n,), generator=generator)
    if seed // 32 % 2:
        logits = -logits.abs()
    if seed // 64 % 2:
        some = torch.rand(n, generator=generator) < 0.3
        other = torch.randint(0, classes, (n,), generator=generator)
        labels = torch.where(some, other, logits.argmin(1))
    for p, noise in (fit_joint_mle(logits, labels), fit_noise_model(logits, labels)):
        torch.testing.assert_close(p.sum(1), torch.ones(n))
        torch.testing.assert_close(noise.sum(1), torch.ones(classes))


def make_views(view, n=600):
    """Three views of two classes, of which one alone tells them apart."""
    generator = torch.Generator().manual_seed(view)
    truth = torch.arange(n) % 2
    views = [torch.randn(n, 12, generator=generator) for _ in range(3)]
    views[view][:, 0] += 3.0 * truth
    return FeatureViews.from_features(views, TEXT_WEIGHTS), truth


@pytest.mark.parametrize(("view", "mix"), [(0, 0), (1, 1), (2, 2)])
def test_views_are_mixed_so_that_most_is_told(view, mix):
    views, truth = make_views(view)
    ids = torch.arange(len(truth))
    assert views.select_weights(ids, truth, 2) == TEXT_WEIGHTS[mix]


def test_trusted_rows_alone_are_asked_for_the_mix():
    views, truth = make_views(2)
    others, _ = make_views(0)
    parts = zip(others.views, views.views, strict=True)
    both = FeatureViews(tuple(torch.cat(part) for part in parts), TEXT_WEIGHTS)
    assert both.select_weights(torch.arange(600, 1200), truth, 2) == TEXT_WEIGHTS[2]
    assert both.select_weights(torch.arange(600), truth, 2) == TEXT_WEIGHTS[0]


def test_labels_of_one_class_leave_the_mix_open():
    views, truth = make_views(1)
    assert views.select_weights(torch.arange(600), torch.zeros_like(truth), 2) == TEXT_WEIGHTS[0]


@pytest.mark.parametrize("mix", TEXT_WEIGHTS)
def test_mixed_views_have_their_weights_and_rows_length_one(mix):
    views, _ = make_views(0)
    sizes = views.concat_weighted(mix).square().mean(0).split([12 for weight in mix if weight])
    assert [float(size.sum()) for size in sizes] == pytest.approx([w for w in mix if w], rel=1e-4)
    assert torch.equal(
        views.concat_weighted(mix, torch.tensor([3])), views.concat_weighted(mix)[3:4]
    )


def test_what_another_classifier_says_helps_and_is_not_said_twice():
    rows, truth = make_rows(0.4, 1000)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, rows.classes, generator=generator)
    judged = 1.5 * one_hot(truth, rows.classes) + noise
    wrong = (rows.labels != truth).numpy()
    plain = MislabelDetector(again=True)(rows)
    helped = MislabelDetector(again=True)(replace(rows, classifier_logits=judged))
    assert plain.second_round
    assert not helped.second_round
    assert "judged_loss" in helped.label_scores
    gain = [
        average_precision_score(wrong, label_posterior.probability)
        for label_posterior in (plain, helped)
    ]
    assert gain[1] > gain[0]


QUICK = [(1e-12, None), (1e300, None), (1.0, 1e7)]


@pytest.mark.parametrize(
    ("spread", "far"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.long)
        for case in itertools.product([1e-12, 1.0, 1e6, 1e300], [None, 1e7])
    ],
)
def test_no_column_takes_weight_from_another(spread, far):
    """The kind alone tells the class; a column of noise has any spread, or one far number."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    labels = flip_labels(truth, 0.1, 2)
    noise = torch.randn(200, 1, generator=generator, dtype=torch.float64)
    if far is not None:
        noise[3] = far
    kinds = [["clerk", "nurse"][i] for i in truth.tolist()]
    rows = LabeledData(make_tabular_features(noise * spread, [kinds]), labels, 2)
    label_posterior = MislabelDetector()(rows)
    assert average_precision_score((labels != truth).numpy(), label_posterior.probability) == 1.0


def test_one_far_number_does_not_silence_its_own_column():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    labels = flip_labels(truth, 0.1, 2)
    column = 4.0 * truth[:, None] + torch.randn(200, 1, generator=generator)
    column[5] = 1e12
    label_posterior = MislabelDetector()(LabeledData(make_tabular_features(column), labels, 2))
    assert average_precision_score((labels != truth).numpy(), label_posterior.probability) > 0.8


def test_standardised_columns_follow_no_unit():
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    plain[::7, 1] = torch.nan
    unit = torch.tensor([1e9, -1e-9, 1e250], dtype=torch.float64)
    moved = plain * unit + torch.tensor([1e12, 0.0, 0.0], dtype=torch.float64)
    pairs = zip(standardize_robustly(plain).T, standardize_robustly(moved).T, strict=True)
    for column, (actual, other) in enumerate(pairs):
        sign = -1 if column == 1 else 1
        torch.testing.assert_close(actual, sign * other, atol=2e-2 if column == 1 else 1e-3, rtol=0)
    whole = standardize_robustly(plain)[:, 0]
    expected = (plain[:, 0] - plain[:, 0].mean()) / plain[:, 0].std(correction=0)
    torch.testing.assert_close(whole, expected.float())  # nothing of a normal draw is cut off


def test_seconds_since_1970_are_told_apart_and_a_constant_column_is_none():
    times = torch.tensor([[1.7e9 + i % 2, 3e17] for i in range(100)], dtype=torch.float64)
    actual = standardize_robustly(times)
    assert actual[:, 0].unique().tolist() == [-1.0, 1.0]
    assert not actual[:, 1].any()


def test_an_infinite_number_is_refused_with_its_place():
    with pytest.raises(InputError, match="row 1, column 0"):
        make_tabular_features(torch.tensor([[1.0], [torch.inf]]))
