"""Number of models that a forecast counts before the estimator is selected: the largest mean."""

from types import SimpleNamespace

import pytest

from tasks.planning.model_size import _count_averaged


@pytest.mark.parametrize(
    ("trainings", "checkpoints", "largest"), [(1, 3, 4), (1, 1, 2), (2, 3, 3), (5, 3, 5), (2, 0, 2)]
)
def test_the_largest_mean_is_counted(trainings, checkpoints, largest):
    members = [object()] * (trainings + checkpoints)
    section = SimpleNamespace(folders=tuple(f"c{i}" for i in range(checkpoints)))
    context = SimpleNamespace(
        estimator_choice=None,
        study=SimpleNamespace(estimator=section),
        members=members,
        averaged_members=members,
    )
    assert _count_averaged(context) == largest
