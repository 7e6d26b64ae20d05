"""KNN-Shapley against the definition, by all orders of the rows."""

from itertools import permutations

import pytest
import torch

from fastif import InputError
from fastif.mislabels.knn_shapley import compute_knn_shapley


def compute_utility(rows, similarity, labels, target, k):
    nearest = sorted(rows, key=lambda row: -float(similarity[row]))[:k]
    return sum(bool(labels[row] == target) for row in nearest) / k


@pytest.mark.parametrize("k", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_values_are_the_mean_of_marginal_gains_over_all_orders(count, k):
    generator = torch.Generator().manual_seed(count)
    similarity = torch.rand(3, count, generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    targets = torch.tensor([0, 1, 1])
    truth = torch.zeros(count).double()
    orders = list(permutations(range(count)))
    for query in range(3):
        for order in orders:
            for place, row in enumerate(order):
                gains = [
                    compute_utility(order[:end], similarity[query], labels, targets[query], k)
                    for end in (place, place + 1)
                ]
                truth[row] += (gains[1] - gains[0]) / (len(orders) * 3)
    values = compute_knn_shapley(similarity, labels, targets, k)
    assert torch.allclose(values, truth, atol=1e-12)


def test_a_wrong_label_among_its_neighbours_has_a_low_value():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 2
    rows = torch.randn(100, 2, generator=generator) + 4 * labels[:, None]
    queries = torch.randn(40, 2, generator=generator) + 4 * (torch.arange(40) % 2)[:, None]
    wrong = labels.clone()
    wrong[:5] = 1 - wrong[:5]
    values = compute_knn_shapley(-torch.cdist(queries, rows), wrong, torch.arange(40) % 2)
    assert set(values.argsort()[:5].tolist()) == set(range(5))


def test_invalid_input_is_refused():
    similarity, labels = torch.rand(2, 3), torch.tensor([0, 1, 0])
    for broken, k in [(similarity, 0), (similarity[:0], 1), (similarity * torch.nan, 1)]:
        with pytest.raises(InputError):
            compute_knn_shapley(broken, labels, torch.zeros(len(broken)).long(), k)
