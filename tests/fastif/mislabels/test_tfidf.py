"""tf-idf of words and character n-grams against scikit-learn; latent semantic analysis."""

import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from fastif.mislabels.features import compute_lsa
from fastif.mislabels.tfidf import char_trigrams, tf_idf


def test_tf_idf_of_words_matches_scikit_learn():
    texts = [[torch.tensor(row) for row in ([1, 2, 2], [2, 3], [1, 3, 3, 3], [2])]]
    matrix = tf_idf(texts).toarray()
    # Words 1, 2, 3; the only pair in two texts is none of them, so none is kept.
    counts = [[1, 2, 0], [0, 1, 1], [1, 0, 3], [0, 1, 0]]
    reference = (
        TfidfTransformer(sublinear_tf=True, smooth_idf=False).fit_transform(counts).toarray()
    )
    assert matrix == pytest.approx(reference, abs=1e-6)


def test_tf_idf_of_character_trigrams_matches_scikit_learn():
    texts = ["Na gode sosai", "na gode, aboki", "sosai ne ba", "", "NE  ba\n na"] * 2 + ["alone"]
    reference = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), min_df=2, sublinear_tf=True, smooth_idf=False
    )
    assert char_trigrams(texts).toarray() == pytest.approx(reference.fit_transform(texts).toarray())


def test_terms_do_not_depend_on_the_order_of_rows():
    texts = ["one two three", "two three", "three one", "two one"]
    order = [2, 0, 3, 1]
    permuted = char_trigrams([texts[i] for i in order])
    assert (permuted.toarray() == char_trigrams(texts).toarray()[order]).all()


def test_lsa_matches_the_best_low_rank_approximation():
    generator = torch.Generator().manual_seed(0)
    texts = [[torch.randint(0, 12, (8,), generator=generator) for _ in range(30)]]
    full = torch.from_numpy(tf_idf(texts).toarray()).float()
    left, sizes, _ = torch.linalg.svd(full, full_matrices=False)
    best = (left[:, :9] * sizes[:9]) @ (left[:, :9] * sizes[:9]).T
    kept = compute_lsa(tf_idf(texts), 9)
    assert torch.allclose(kept @ kept.T, best, atol=1e-4)
