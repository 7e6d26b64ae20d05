"""Selection of feature-view weights by cross-validated pseudo-R²."""

import pytest
import torch

from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews


def make_views(view, n=600):
    """Three views of two classes; a single one is informative."""
    generator = torch.Generator().manual_seed(view)
    truth = torch.arange(n) % 2
    views = [torch.randn(n, 12, generator=generator) for _ in range(3)]
    views[view][:, 0] += 3.0 * truth
    return FeatureViews.from_features(views, TEXT_WEIGHTS), truth


@pytest.mark.parametrize(("view", "mix"), [(0, 0), (1, 1), (2, 2)])
def test_weights_of_the_largest_pseudo_r2_are_selected(view, mix):
    views, truth = make_views(view)
    ids = torch.arange(len(truth))
    assert views.select_weights(ids, truth, 2) == TEXT_WEIGHTS[mix]


def test_weights_are_selected_on_the_given_rows_alone():
    views, truth = make_views(2)
    others, _ = make_views(0)
    parts = zip(others.views, views.views, strict=True)
    both = FeatureViews(tuple(torch.cat(part) for part in parts), TEXT_WEIGHTS)
    assert both.select_weights(torch.arange(600, 1200), truth, 2) == TEXT_WEIGHTS[2]
    assert both.select_weights(torch.arange(600), truth, 2) == TEXT_WEIGHTS[0]


def test_labels_of_one_class_select_the_default_weights():
    views, truth = make_views(1)
    assert views.select_weights(torch.arange(600), torch.zeros_like(truth), 2) == TEXT_WEIGHTS[0]


@pytest.mark.parametrize("mix", TEXT_WEIGHTS)
def test_weighted_views_have_their_share_of_the_norm(mix):
    views, _ = make_views(0)
    sizes = views.concat_weighted(mix).square().mean(0).split([12 for weight in mix if weight])
    assert [float(size.sum()) for size in sizes] == pytest.approx([w for w in mix if w], rel=1e-4)
    assert torch.equal(
        views.concat_weighted(mix, torch.tensor([3])), views.concat_weighted(mix)[3:4]
    )


def test_a_single_view_is_not_copied():
    view = torch.randn(5, 2)
    assert FeatureViews((view,), ((1.0,),)).concat_weighted((1.0,)).data_ptr() == view.data_ptr()


def test_views_that_are_overwritten_are_the_same_numbers():
    layers = torch.randn(40, 2, 6) + 3
    kept = FeatureViews.from_features([layers[:, 0], layers[:, 1]], ((0.5, 0.5),))
    assert not torch.equal(kept.views[0], layers[:, 0])
    overwritten = FeatureViews.from_features(
        [layers[:, 0], layers[:, 1]], ((0.5, 0.5),), in_place=True
    )
    assert overwritten.views[1].data_ptr() == layers[:, 1].data_ptr()
    assert all(torch.equal(*pair) for pair in zip(kept.views, overwritten.views, strict=True))
