"""Correlations and LDS against SciPy and by hand."""

import numpy as np
import pytest
import scipy.stats
import torch

from fastif.numerics.correlation import (
    linear_datamodelling_score,
    margins,
    pearson,
    spearman,
)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_equal_scipy(ties):
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(4, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    if ties:
        a = a.round()
    for row, (x, y) in enumerate(zip(a.numpy(), b.numpy(), strict=True)):
        assert float(pearson(a, b)[row]) == pytest.approx(scipy.stats.pearsonr(x, y)[0])
        assert float(spearman(a, b)[row]) == pytest.approx(scipy.stats.spearmanr(x, y)[0])


def test_constant_rows_have_no_correlation():
    assert pearson(torch.ones(1, 5), torch.arange(5.0)[None]).isnan().all()


def test_lds_is_the_rank_correlation_of_sums():
    generator = torch.Generator().manual_seed(1)
    effect = torch.randn(3, 12, generator=generator)
    subsets = [torch.randperm(12, generator=generator)[:6] for _ in range(9)]
    outcomes = torch.randn(9, 3, generator=generator)
    scores = linear_datamodelling_score(effect, subsets, outcomes)
    for query in range(3):
        sums = [sum(float(effect[query, i]) for i in ids) for ids in subsets]
        expected = scipy.stats.spearmanr(sums, outcomes[:, query].numpy())[0]
        assert float(scores[query]) == pytest.approx(expected, abs=1e-6)


def test_a_margin_is_the_log_odds_of_the_label():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    chance = logits.softmax(1)[torch.arange(6), labels].numpy()
    assert np.allclose(margins(logits, labels).numpy(), np.log(chance / (1 - chance)))
