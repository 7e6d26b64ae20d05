"""Labels that few rows have: their error rates are those of the frequent labels."""

import numpy as np
import pytest
import torch

from fastif.mislabels import LabelSetData, LabelSetDetector
from fastif.mislabels.rare_labels import find_frequent_labels, pool_rare_labels


def _make_labels(seed, rows=900):
    """Right labels: three that a third of the rows have, and one that 15 or so have."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 30)).astype("float32")
    frequent = [x[:, i] + 0.7 * draw.normal(size=rows) > 0.5 for i in range(3)]
    rare = x[:, 5] + draw.normal(size=rows) > 3.0
    return torch.from_numpy(x), torch.from_numpy(np.stack([*frequent, rare], 1).astype("int64"))


@pytest.mark.default_cases("1")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_right_rows_of_a_rare_label_are_not_taken_for_errors(seed):
    features, given = _make_labels(seed)
    errors = LabelSetDetector()(LabelSetData(features, given))
    on = given[:, 3] == 1
    assert 10 <= int(on.sum()) <= 30
    assert float(errors.probability[on, 3].mean()) < 0.2


def test_rare_labels_have_the_probabilities_of_equal_losses():
    generator = torch.Generator().manual_seed(0)
    given = (torch.rand(400, 2, generator=generator) < torch.tensor([0.4, 0.02])).long()
    loss = torch.rand(400, 2, generator=generator)
    probability = (loss**2) * torch.tensor([0.5, 1.0])
    pooled = pool_rare_labels(probability, loss, given)
    assert torch.equal(pooled[:, 0], probability[:, 0])
    assert float((pooled[:, 1] - 0.5 * loss[:, 1] ** 2).abs().max()) < 0.05


def test_the_most_frequent_label_teaches_where_all_are_rare():
    given = torch.zeros(100, 3, dtype=torch.long)
    given[:5, 0], given[:8, 1], given[:2, 2] = 1, 1, 1
    searched = torch.tensor([True, True, True])
    assert find_frequent_labels(given, searched).tolist() == [False, True, False]
    searched[1] = False
    assert find_frequent_labels(given, searched).tolist() == [True, False, False]


def test_labels_that_were_not_searched_stay_so():
    probability = torch.full((4, 2), torch.nan)
    given = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert pool_rare_labels(probability, probability, given).isnan().all()
