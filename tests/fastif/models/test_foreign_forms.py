"""Models, losses and arrays in the forms of other libraries are accepted, or refused by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    CrossEntropy,
    Direct,
    Dual,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    SmoothHinge,
    SquaredError,
    TensorExamples,
    self_influence,
)
from fastif.gradients.per_example import compute_loss_gradients
from tests.fastif.models.small_attribution import _attribute, _insert_layers, _Returns, _rows


def _effects(objective, train) -> Tensor:
    influences = _attribute(objective, train).influences
    return torch.zeros(2, len(train)).scatter_(1, influences.ids, influences.removal_effect)


def test_wrapped_outputs_are_accepted():
    plain = _Returns(lambda y: y)
    expected = _effects(ModuleObjective(plain, CrossEntropy()), _rows())
    for made in (lambda y: (y,), lambda y: {"logits": y}):
        module = _Returns(made)
        module.a = plain.a
        effects = _effects(ModuleObjective(module, CrossEntropy()), _rows())
        torch.testing.assert_close(effects, expected)


def test_a_vector_of_outputs_is_one_output_for_each_row():
    rows, module = TensorExamples(torch.randn(8, 3), torch.rand(8)), nn.Linear(3, 1)
    expected = _effects(ModuleObjective(module, SquaredError()), rows)
    flat = nn.Sequential(module, nn.Flatten(0))
    torch.testing.assert_close(_effects(ModuleObjective(flat, SquaredError()), rows), expected)


def test_wrappers_are_removed_and_half_precision_is_converted_to_single():
    module, rows = nn.Linear(3, 3), _rows()
    expected = _effects(ModuleObjective(module, CrossEntropy()), rows)
    parallel = ModuleObjective(nn.DataParallel(module), CrossEntropy())
    assert parallel.space.names == ("weight", "bias")
    torch.testing.assert_close(_effects(parallel, rows), expected)
    half = nn.Linear(3, 3).bfloat16()
    half.load_state_dict(module.state_dict())
    wide = nn.Linear(3, 3)
    wide.load_state_dict(half.state_dict())
    objective = ModuleObjective(half, CrossEntropy())
    assert objective.like.dtype == torch.float32
    assert half.weight.dtype == torch.bfloat16
    expected = _effects(ModuleObjective(wide, CrossEntropy()), rows)
    torch.testing.assert_close(_effects(objective, rows), expected)


def test_arrays_lists_and_double_inputs_are_accepted():
    rows, module = _rows(), nn.Linear(3, 3)
    objective = ModuleObjective(module, CrossEntropy())
    expected = _effects(objective, rows)
    arrays = TensorExamples(rows.inputs.double().numpy(), rows.labels.tolist())
    operator = GaussNewton(objective, arrays, list(range(12))).with_damping(0.1)
    influences = Attributor(objective, arrays, operator, Dual())(arrays, [0, 1]).influences
    effects = torch.zeros(2, 12).scatter_(1, influences.ids, influences.removal_effect)
    torch.testing.assert_close(effects, expected)
    ids = np.array([3, 0])
    taken = compute_loss_gradients(Gradients(objective), arrays.with_batch_size(4), ids)
    torch.testing.assert_close(
        taken,
        compute_loss_gradients(Gradients(objective), rows.with_batch_size(4), torch.tensor([3, 0])),
    )
    self_influence(Gradients(objective), arrays, operator, Direct(), [1, 2])


def test_a_plain_loss_of_torch_is_converted_and_others_are_refused_by_name():
    rows, module = _rows(), nn.Linear(3, 3)
    expected = _effects(ModuleObjective(module, CrossEntropy(0.1)), rows)
    plain = ModuleObjective(module, nn.CrossEntropyLoss(label_smoothing=0.1))
    torch.testing.assert_close(_effects(plain, rows), expected)
    for loss, instead in (
        (nn.CrossEntropyLoss(weight=torch.ones(3)), r"fastif\.CrossEntropy"),
        (nn.CrossEntropyLoss(ignore_index=0), r"fastif\.CrossEntropy"),
        (nn.MSELoss(), "SquaredError"),
        (nn.BCEWithLogitsLoss(), "BinaryCrossEntropy"),
        (F.cross_entropy, "CrossEntropy"),
        (CrossEntropy, "CrossEntropy"),
    ):
        with pytest.raises(InputError, match=instead):
            ModuleObjective(module, loss)


def test_quantised_layers_are_refused():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no quantised kernels here")
    module = torch.ao.quantization.quantize_dynamic(_insert_layers(nn.LayerNorm(4)), {nn.Linear})
    with pytest.raises(InputError, match="quantised layer 0"):
        ModuleObjective(module, CrossEntropy())


class FusedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(2, 2), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)[:, None]
        return self.o(F.scaled_dot_product_attention(q, q, q)[:, 0].mean(1))


class PlainAttention(FusedAttention):
    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)
        return self.o(((q @ q.mT / 2**0.5).softmax(-1) @ q).mean(1))


def test_a_hessian_product_with_fused_attention():
    torch.manual_seed(0)
    fused, plain = FusedAttention().double(), PlainAttention().double()
    plain.load_state_dict(fused.state_dict())
    rows = TensorExamples(torch.randn(6, 4, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2]))
    actual = Hessian(ModuleObjective(fused, CrossEntropy()), rows).to_dense()
    params = dict(plain.named_parameters())
    row = torch.cat([p.detach().flatten() for p in params.values()])

    def loss(row: Tensor) -> Tensor:
        parts = row.split([p.numel() for p in params.values()])
        named = {n: part.view_as(p) for (n, p), part in zip(params.items(), parts, strict=True)}
        outputs = torch.func.functional_call(plain, named, (rows.inputs,))
        return F.cross_entropy(outputs, rows.labels)

    torch.testing.assert_close(actual, torch.func.hessian(loss)(row))


def test_the_loss_and_its_sqrt_hessian_are_in_single_precision_at_least():
    outputs = torch.tensor([[3.0, -2.0, 0.5]], dtype=torch.bfloat16)
    for loss, targets in (
        (CrossEntropy(), torch.tensor([1])),
        (BinaryCrossEntropy(), torch.tensor([[1, 0, 1]])),
        (SmoothHinge(0.3), torch.tensor([1])),
        (SquaredError(), torch.tensor([[1.0, 0.0, 2.0]])),
    ):
        assert (
            loss(outputs, targets).dtype
            == loss.sqrt_hessian(outputs, targets).dtype
            == torch.float32
        )
        expected = loss(outputs.double(), targets).float()
        torch.testing.assert_close(loss(outputs, targets), expected, rtol=1e-5, atol=1e-6)
