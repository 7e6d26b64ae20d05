"""k nearest neighbours by cosine similarity, and kNN smoothing."""

import torch

from fastif.mislabels.knn import find_neighbours, smooth_logits


def test_neighbours_are_the_nearest_by_cosine_and_never_the_row_itself():
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    features[10:13] = features[9]
    neighbour_ids = find_neighbours(features, 4)
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    dense = unit @ unit.T
    dense.fill_diagonal_(-2)
    assert not (neighbour_ids == torch.arange(50)[:, None]).any()
    assert torch.allclose(dense.gather(1, neighbour_ids), dense.topk(4, 1).values, atol=1e-5)


def test_held_out_neighbours_have_no_weight():
    own = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    near = torch.tensor([[1, -1], [-1, -1]])
    alone = smooth_logits(own, own, near)
    assert torch.equal(alone[1], own.log_softmax(1)[1])
    assert torch.allclose(alone[0], (own.log_softmax(1)[0] + own.log_softmax(1)[1]) / 2)
