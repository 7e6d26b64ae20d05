"""Kinds of layers by name, rows of words as their inputs, and reference gradients.

The reference is plain autograd in float64, one example at a time, on a module that the library
never uses.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tests.fastif.gradients.word_models import (
    Attention,
    Bag,
    Capacity,
    Channels,
    Doubled,
    Experts,
    Flattened,
    Flipped,
    Gathered,
    Halved,
    Hidden,
    InPlace,
    LongOnes,
    MaskAttribute,
    MaskedKeyword,
    MaskedPositional,
    Nested,
    Offsets,
    PackedGru,
    Positions,
    Rescaled,
    Rotated,
    Scale,
    Sorted,
    SortedGru,
    Swapped,
    Tied,
    TiedModules,
    Twice,
    Words,
)


def _hooked() -> nn.Module:
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda _, __, output: 2 * output)
    return layer


def _weight_norm() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))


# name: constructor, and whether hooks give the gradients of all rows
KINDS = {
    "linear": (lambda: Words(nn.Linear(3, 3)), True),
    "transposed weight": (lambda: Words(Conv1D(3, 3)), True),
    "layer norm": (lambda: Words(nn.LayerNorm(3)), True),
    "embedding": (Words, True),
    "padded embedding": (lambda: Words(nn.Linear(3, 3)), True),
    "conv": (lambda: Channels(nn.Conv1d(3, 3, 3, padding=1)), True),
    "group norm": (lambda: Channels(nn.GroupNorm(1, 3)), True),
    "batch norm": (lambda: Channels(nn.BatchNorm1d(3)), True),
    "twice": (lambda: Twice(nn.Linear(3, 3)), True),
    "norm twice": (lambda: Twice(nn.LayerNorm(3)), True),
    "scale": (lambda: Words(Scale()), True),
    "nested": (lambda: Words(Nested(False)), True),
    "in place": (lambda: InPlace(nn.Linear(3, 3)), False),
    "rescaled": (lambda: Words(Rescaled(3, 3)), True),
    "bag": (lambda: Bag(False), None),
    "flipped": (Flipped, False),
    "masked keyword": (lambda: MaskedKeyword(Scale()), False),
    "masked positional": (lambda: MaskedPositional(Scale()), False),
    "mask attribute": (lambda: MaskAttribute(Hidden()), False),
    "sorted": (Sorted, False),
    "gathered": (Gathered, False),
    "rotated": (Rotated, False),
    "swapped": (lambda: Swapped(nn.Linear(3, 3)), False),
    "flattened": (lambda: Flattened(nn.Linear(3, 3)), False),
    "halved": (lambda: Halved(nn.Linear(3, 3)), False),
    "doubled": (lambda: Doubled(nn.Linear(3, 3)), False),
    "experts": (Experts, False),
    "capacity": (Capacity, False),
    "weighed bag": (lambda: Bag(True), False),
    "offsets": (lambda: Offsets(False), False),
    "attention": (lambda: Attention(nn.MultiheadAttention(3, 1, batch_first=True)), False),
    "tied": (Tied, False),
    "tied modules": (TiedModules, False),
    "packed gru": (PackedGru, False),
    "sorted gru": (SortedGru, False),
    "positions": (lambda: Positions(nn.Embedding(5, 3)), True),
    "hooked": (lambda: Words(_hooked()), False),
    "weight norm": (lambda: Words(_weight_norm()), False),
    "nested and read": (lambda: Words(Nested(True)), False),
    "long ones": (lambda: Words(LongOnes(3, 3)), True),
}
N = 16


def make_rows(padded: int) -> tuple[Tensor, Tensor]:
    """Rows of five words; the first ones have no padding, so a check of them detects nothing."""
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(1, 8, (N, 5), generator=generator)
    lengths = torch.randint(1, 6, (N,), generator=generator)
    for i in range(padded, N):
        words[i, lengths[i] :] = 0
    return words, torch.randint(3, (N,), generator=generator)


def build_model(kind: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return KINDS[kind][0]().to(dtype).eval()


def truth(module: nn.Module, words: Tensor, labels: Tensor) -> Tensor:
    module = copy.deepcopy(module).double()
    rows = []
    for i in range(len(words)):
        loss = F.cross_entropy(module(words[i : i + 1]), labels[i : i + 1])
        gradients = torch.autograd.grad(loss, list(module.parameters()), materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)
