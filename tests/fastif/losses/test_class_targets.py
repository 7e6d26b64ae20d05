"""What needs class numbers refuses other targets by name."""

import pytest
import torch

from fastif import BinaryCrossEntropy, InputError, ModuleObjective, SquaredError, TensorExamples
from fastif.candidates import ClassQuota
from fastif.correction import Correction, correct
from fastif.losses import BinaryFocalLoss, Entropy, FocalLoss, NegativeMargin, OrdinalCrossEntropy
from fastif.training.proximal_bregman import proximal_bregman_response

OTHER = {
    "several": torch.tensor([[0, 1], [1, 0]]),
    "number": torch.tensor([0.0, 1.0]),
    "weighted": torch.tensor([[0.5, 1.0], [2.0, 0.0]]),
    "negative": torch.tensor([-1, 0]),
    "boolean": torch.tensor([True, False]),
}


@pytest.mark.parametrize("name", OTHER)
def test_quotas_and_measures_of_classes_refuse_other_targets(name):
    targets = OTHER[name]
    with pytest.raises(InputError, match="class numbers as targets"):
        ClassQuota(targets, 0.5)
    for measure in (NegativeMargin(), Entropy(), FocalLoss(), OrdinalCrossEntropy()):
        assert measure.find_invalid_targets(targets, 2) is not None
    for measure in (NegativeMargin(), FocalLoss(), OrdinalCrossEntropy()):
        with pytest.raises(InputError, match="class number"):
            measure(torch.zeros(2, 2), targets)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [(BinaryCrossEntropy(), OTHER["several"]), (SquaredError(), torch.ones(2, 2))],
)
def test_a_balanced_correction_refuses_other_targets(loss, labels):
    torch.manual_seed(0)
    objective = ModuleObjective(torch.nn.Linear(2, 2), loss)
    rows = TensorExamples(torch.eye(2), labels)
    settings = Correction(steps=1, rows=1, anchors=2, pool=2, balanced=True)
    with pytest.raises(InputError, match="balanced: expected class numbers as targets"):
        correct(objective, rows, rows, lambda b: b, settings)


@pytest.mark.parametrize("loss", [FocalLoss(), BinaryFocalLoss(), SquaredError()])
def test_the_response_of_the_softmax_refuses_other_losses(loss):
    objective = ModuleObjective(torch.nn.Linear(2, 2), loss)
    with pytest.raises(InputError, match="Bregman"):
        proximal_bregman_response(objective, TensorExamples(torch.eye(2), [0, 1]), 0, 0.1)
