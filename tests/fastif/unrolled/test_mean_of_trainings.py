"""Mean and spread of effects over several trainings."""

import pytest
import torch

from fastif import InputError
from fastif.unrolled.mean_of_trainings import average_trainings


def test_mean_and_spread_are_those_of_all_matrices_together():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(4, 3, 5, generator=generator) + 100
    mean, spread = average_trainings(iter(effects))
    torch.testing.assert_close(mean, effects.double().mean(0).float())
    torch.testing.assert_close(spread, effects.double().std(0).float())
    assert average_trainings(effects[:1])[1].isnan().all()


def test_matrices_of_other_queries_and_none_are_refused():
    with pytest.raises(InputError, match="one shape"):
        average_trainings([torch.zeros(2, 3), torch.zeros(3, 3)])
    with pytest.raises(InputError, match="none"):
        average_trainings([])
