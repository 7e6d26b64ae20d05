"""Features of pairs and tables: no view, column or unit takes weight from another."""

import itertools

import pytest
import torch
from sklearn.metrics import average_precision_score

from fastif import InputError
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views, make_tabular_features, standardize_robustly
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.text_embeddings import make_pair_features
from tests.fastif.mislabels.noisy_clouds import flip_labels


def test_views_have_equal_weight_at_any_width():
    wide, narrow = torch.randn(500, 64), 100 * torch.randn(500, 2) + 7
    both = concat_views([wide, narrow])
    lengths = both[:, :64].square().sum(1).mean(), both[:, 64:].square().sum(1).mean()
    assert lengths == (pytest.approx(0.5, rel=1e-3), pytest.approx(0.5, rel=1e-3))


def test_pair_features_have_difference_and_product():
    assert make_pair_features(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [
        [1, 1, 0, 0, 1, 1, 0, 0]
    ]


QUICK = [(1e300, None)]


@pytest.mark.parametrize(
    ("spread", "far"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.long)
        for case in itertools.product([1e-12, 1.0, 1e6, 1e300], [None, 1e7])
    ],
)
def test_no_column_takes_weight_from_another_at_any_scale(spread, far):
    """The category determines the class; the noise column has any scale, or one outlier."""
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


def test_an_outlier_does_not_silence_its_own_column():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    labels = flip_labels(truth, 0.1, 2)
    column = 4.0 * truth[:, None] + torch.randn(200, 1, generator=generator)
    column[5] = 1e12
    label_posterior = MislabelDetector()(LabeledData(make_tabular_features(column), labels, 2))
    assert average_precision_score((labels != truth).numpy(), label_posterior.probability) > 0.8


def test_robust_standardization_is_invariant_to_units():
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
    torch.testing.assert_close(whole, expected.float())  # a normal sample is not winsorized


def test_unix_times_are_distinguished_and_a_constant_column_is_zero():
    times = torch.tensor([[1.7e9 + i % 2, 3e17] for i in range(100)], dtype=torch.float64)
    actual = standardize_robustly(times)
    assert actual[:, 0].unique().tolist() == [-1.0, 1.0]
    assert not actual[:, 1].any()


def test_an_infinite_number_is_refused_with_row_and_column():
    with pytest.raises(InputError, match="row 1, column 0"):
        make_tabular_features(torch.tensor([[1.0], [torch.inf]]))
