"""Ranked queries through the training: against float64 autograd through all of its steps."""

import math

import pytest
import torch

from fastif import Ensemble, ExhaustiveSearch, InputError
from fastif.attribution.influence import NO_EXAMPLE
from fastif.unrolled.reverse_sweep import UnrolledSettings
from fastif.unrolled.unrolled_attributor import EXPLODED, UnrolledAttributor
from tests.fastif.unrolled.small_trainings import CASES, QUERIES, ROWS, train, true_effects


@pytest.fixture(scope="module")
def training():
    return train(CASES["adamw"])


@pytest.fixture(scope="module")
def truth(training):
    return true_effects(training)


def make_attributor(training, **options):
    settings = UnrolledSettings("hessian")
    return UnrolledAttributor(
        training.objective, training.examples, training.record, settings=settings, **options
    )


def by_row(influences):
    """Effects in the order of the training rows."""
    return influences.removal_effect.gather(1, influences.ids.argsort(1))


def test_effects_are_the_derivatives_in_order_of_harm(training, truth):
    attribution = make_attributor(training)(training.queries)
    torch.testing.assert_close(by_row(attribution.influences), truth, rtol=1e-7, atol=1e-9)
    effects = attribution.influences.removal_effect
    assert bool((effects.diff(dim=1) >= 0).all())
    certificate = attribution.certificate
    assert bool(certificate.converged.all())
    assert certificate.reasons == (None,) * QUERIES
    assert math.isnan(certificate.damping)
    assert bool(certificate.residual.isnan().all())
    gradients = make_attributor(training).gradients
    assert certificate.leverage.startswith("off: ")
    assert gradients.objective is training.objective


def test_lists_and_totals_are_those_of_all_effects(training, truth):
    attributor = make_attributor(training, search=ExhaustiveSearch(keep=2))
    slices = torch.tensor([0, 1, 0, 1])
    attribution = attributor(training.queries, slices=slices)
    order = truth.argsort(1)
    expected = torch.cat([order[:, :2], order[:, -2:]], 1)
    assert torch.equal(attribution.influences.ids, expected)
    sums = torch.stack([truth[slices == number].sum(0) for number in (0, 1)])
    torch.testing.assert_close(attribution.totals.effects, sums, rtol=1e-5, atol=1e-7)


def test_small_sweeps_give_the_same_effects(training):
    whole = make_attributor(training)(training.queries).influences
    steps = []
    single = make_attributor(training, sweep_gb=1e-9, progress=lambda step, _: steps.append(step))
    assert single.sweep_queries == 1
    parts = single(training.queries, [2, 0]).influences
    torch.testing.assert_close(by_row(parts), by_row(whole)[[2, 0]], rtol=1e-12, atol=1e-15)
    assert steps.count(training.record.num_steps) == 2


def test_rows_are_ranked_by_a_scale_in_an_ensemble(training, truth):
    scale = torch.linspace(0.5, 2, ROWS, dtype=torch.float64)
    ensemble = Ensemble([make_attributor(training)], row_scale=scale)
    influences = ensemble(training.queries).influences
    assert torch.equal(influences.ids, (truth * scale).argsort(1))


def test_query_without_finite_derivative_is_quarantined(training):
    queries = training.queries
    queries = type(queries)(queries.inputs.clone(), queries.labels)
    queries.inputs[1] = torch.inf
    attribution = make_attributor(training)(queries)
    assert [reason is None for reason in attribution.certificate.reasons] == [
        True,
        False,
        True,
        True,
    ]
    assert bool((attribution.influences.ids[1] == NO_EXAMPLE).all())


def test_exploded_sweep_quarantines_its_query(training, monkeypatch):
    import fastif.unrolled.unrolled_attributor as module

    def explode(*arguments, **options):
        effects = sweep(*arguments, **options)
        effects[0, 3] = torch.inf
        return effects

    sweep = module.unrolled_removal_effects
    monkeypatch.setattr(module, "unrolled_removal_effects", explode)
    attribution = make_attributor(training)(training.queries)
    assert attribution.certificate.reasons == (EXPLODED, None, None, None)
    assert not bool(attribution.certificate.converged[0])


def test_record_of_other_weights_is_refused(training):
    other = train(CASES["sgd"])
    mixed = UnrolledAttributor(training.objective, training.examples, other.record)
    with pytest.raises(InputError, match="record"):
        mixed(training.queries)
