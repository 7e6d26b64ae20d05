"""Tables with changing rows or with labels outside of the loss, and other objects, are refused."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    CrossEntropy,
    Dual,
    Examples,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    SmoothHinge,
    SquaredError,
    TensorExamples,
)
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.gradients.per_example import compute_loss_gradients
from tests.fastif.models.small_attribution import _attribute, _rows


class Augmented(TensorExamples):
    def take(self, ids):
        batch = super().take(ids)
        return {**batch, "inputs": batch["inputs"] + 0.1 * torch.randn(len(ids), 3)}


def test_rows_that_change_each_time_are_refused():
    rows = _rows()
    with pytest.raises(InputError, match=r"training set.*same rows each time"):
        _attribute(
            ModuleObjective(nn.Linear(3, 3), CrossEntropy()), Augmented(rows.inputs, rows.labels)
        )


WRONG_LABELS = {
    "ignored": (CrossEntropy(), [0, 1, -100, 2], "-100 in row 2"),
    "negative": (CrossEntropy(), [0, -1, -1, 2], "-1 in row 1 .rows 1, 2"),
    "too large": (CrossEntropy(), [0, 1, 3, 2], "3 in row 2"),
    "numbers": (CrossEntropy(), [0.0, 1.0, 2.0, 0.5], "whole number"),
    "one-hot whole numbers": (CrossEntropy(), [[1, 0, 0]] * 4, "whole number"),
    "soft, too few": (CrossEntropy(), [[0.5, 0.5]] * 4, "3 numbers"),
    "soft, negative": (CrossEntropy(), [[0.5, 0.5, 0.0]] * 3 + [[1.5, -0.5, 0.0]], "in row 3"),
    "soft, not a number": (CrossEntropy(), [[0.5, 0.5, 0.0]] * 3 + [[torch.nan] * 3], "in row 3"),
    "hinge": (SmoothHinge(0.1), [0, 1, -1, 2], "-1 in row 2"),
    "yes and no": (BinaryCrossEntropy(), [[0, 1, 2]] * 4, "0 or 1"),
    "yes and no, not a number": (BinaryCrossEntropy(), [[0, 1, torch.nan]] * 4, "finite"),
    "regression, not a number": (SquaredError(), [[0.0, 1, 2]] * 3 + [[torch.nan] * 3], "row 3"),
    "regression, too few": (SquaredError(), [0.0, 1, 2, 3], "3 numbers"),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_labels_outside_the_loss_are_refused_by_row(name):
    loss, labels, words = WRONG_LABELS[name]
    objective, inputs = ModuleObjective(nn.Linear(3, 3), loss), torch.randn(4, 3)
    with pytest.raises(InputError, match=words):
        GaussNewton(objective, TensorExamples(inputs, torch.tensor(labels)))
    fine = torch.tensor([0, 1, 2, 0])
    if isinstance(loss, CrossEntropy | SmoothHinge):
        train = TensorExamples(inputs, fine)
        with pytest.raises(InputError, match=words):
            GaussNewton(objective, RelabeledExamples(train, torch.tensor(labels)))
        queries = TensorExamples(inputs, torch.tensor(labels))
        operator = GaussNewton(objective, train).with_damping(0.1)
        with pytest.raises(InputError, match=f"queries.*{words}"):
            Attributor(objective, train, operator, Dual())(queries, torch.arange(2))


def test_a_wrong_label_that_only_a_batch_shows_is_refused_too():
    class Hidden(Examples):
        def __len__(self):
            return 40

        def take(self, ids):
            return {"inputs": torch.ones(len(ids), 3), "labels": torch.where(ids == 17, -100, 0)}

    objective = ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    with pytest.raises(InputError, match="-100"):
        _attribute(objective, Hidden())


def test_inputs_and_labels_of_unequal_number_are_refused():
    for rows, labels in ((4, 6), (6, 4)):
        with pytest.raises(InputError, match=f"{rows} rows and {labels} labels"):
            TensorExamples(torch.randn(rows, 3), torch.zeros(labels, dtype=torch.long))
    with pytest.raises(InputError, match="RelabeledExamples"):
        RelabeledExamples(_rows(12), torch.zeros(11, dtype=torch.long))


def test_data_sets_of_torch_and_wrong_positions_are_refused():
    rows, objective = _rows(), ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    data = TensorDataset(rows.inputs, rows.labels)
    for given in (data, DataLoader(data), (rows.inputs, rows.labels)):
        with pytest.raises(InputError, match="TensorExamples"):
            GaussNewton(objective, given)  # type: ignore[arg-type]
    for ids in ([0, 12], [-1], [0.5], torch.tensor([True] * 12)):
        with pytest.raises(InputError, match="ids"):
            compute_loss_gradients(Gradients(objective), rows.with_batch_size(4), ids)
