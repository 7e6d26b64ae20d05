"""A workspace in bfloat16: rounded gradients, and none of them in single precision before."""

import copy

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GPT2Config, GPT2ForSequenceClassification
from transformers.pytorch_utils import Conv1D

from fastif import (
    CrossEntropy,
    Gradients,
    ModuleObjective,
    TensorExamples,
    TransformerObjective,
    all_ids,
)
from fastif.gradients.gradient_tile import aligned_rows
from fastif.gradients.hooks import HookedPass
from fastif.gradients.row_assembly import assemble_gradients

BITS = 2.0**-8
"""Relative rounding error of bfloat16 of a number, at most half of it."""


class Allocations(TorchDispatchMode):
    """Within it, the sizes of new tensors in single precision or more are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        for tensor in tree_leaves(out):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype.itemsize < 4:
                continue
            if tensor.untyped_storage().data_ptr() not in known:
                self.sizes.append(tensor.numel())
        return out


def _gpt2():
    size = {"n_embd": 8, "n_head": 2, "n_inner": 12, "n_layer": 3, "n_positions": 24}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = GPT2ForSequenceClassification(
            GPT2Config(
                vocab_size=40, num_labels=3, pad_token_id=0, attn_implementation="eager", **size
            )
        )
    return model.double().eval()


def _assemble(objective, batch, dtype):
    """Gradients of a pass in single precision, written into a workspace of another type."""
    rows = aligned_rows(objective.like, len(batch["labels"]), objective.space.size, dtype)
    _, layer_grads = next(HookedPass.run(objective, batch).backpropagate("losses"))
    assemble_gradients(objective, layer_grads, rows)
    return rows


MODELS = {
    "linear": lambda: (transformer("bert"), "last:1"),
    "transposed weight": lambda: (_gpt2(), "last:1"),
    "called three times": lambda: (transformer("albert"), "all"),
    "embedding": lambda: (transformer("bert"), "all"),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_equal_the_dense_ones_in_double_within_the_rounding_of_the_factors(name):
    model, attributed = MODELS[name]()
    examples = token_examples(7)
    objective = TransformerObjective(copy.deepcopy(model).float(), attributed)
    batch = examples.take(all_ids(examples))
    assert Gradients(objective).uses_hooks(batch)
    actual = _assemble(objective, batch, torch.bfloat16)
    expected = reference.gradients(text_problem(model, objective.space.names, examples))
    size = expected.abs().amax()
    # Both factors and the result are rounded once; sums over positions cancel in part.
    assert float((actual.double() - expected).abs().max()) < 4 * BITS * float(size)
    exact = Gradients(objective).compute_loss_tile(batch).gradients
    torch.testing.assert_close(exact.double(), expected, rtol=1e-4, atol=1e-5 * float(size))
    assert not torch.equal(exact.bfloat16(), exact.float())


class Calls(nn.Module):
    """One layer, called a number of times on 4 positions, then the mean over positions."""

    def __init__(self, layer: nn.Module, calls: int) -> None:
        super().__init__()
        self.layer, self.calls = layer, calls

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = torch.tanh(self.layer(x))
        return x.mean(1)


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
@pytest.mark.parametrize("calls", [1, 2])
def test_no_gradient_of_a_layer_exists_in_single_precision(kind, calls):
    """The layer is large: no other tensor of a pass has as many numbers as its gradients."""
    width, count = 64, 6
    torch.manual_seed(0)
    objective = ModuleObjective(Calls(kind(width, width), calls), CrossEntropy())
    examples = TensorExamples(torch.randn(count, 4, width), torch.arange(count))
    batch, largest = examples.take(all_ids(examples)), {}
    for dtype in (torch.bfloat16, torch.float32):
        with Allocations() as allocations:
            assert _assemble(objective, batch, dtype).dtype == dtype
        largest[dtype] = max(allocations.sizes)
    assert largest[torch.bfloat16] < count * width**2 <= largest[torch.float32]
