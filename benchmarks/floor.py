"""Arithmetic lower bound: multiply-adds of exact scores at the measured rate of the machine."""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.example import SHARD, Sizes
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator

SAMPLE = 64
"""Number of training examples whose multiply-adds are counted."""


def floor(context: RunContext, sizes: Sizes, turn: int, folder: Path) -> dict:
    """Return the multiply-adds a pair and a gradient, and the rates of matrix products."""
    p, tile = context.objective.space.size, context.study.run.batch_size
    q = min(SHARD, len(context.query_examples))
    return {
        "pair": p,
        "gradient": gradient_multiply_adds(context),
        "root_rows": getattr(make_operator(context).operator, "count", 0)
        * (len(context.study.labels) - 1),
        "rate_square": rate(2048, 2048, 2048, context.objective.like),
        "rate_tile": rate(q, p, tile, context.objective.like),
        "tile": [q, p, tile],
    }


def rate(rows: int, inner: int, columns: int, like: Tensor, repeats: int = 10) -> float:
    """Return the multiply-adds a second of [rows inner] @ [inner columns], best of `repeats`."""
    left, right = like.new_ones(rows, inner), like.new_ones(columns, inner)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product = left @ right.T
        float(product[0, 0])  # waits for an accelerator
        seconds.append(time.perf_counter() - start)
    return rows * inner * columns / min(seconds)


def gradient_multiply_adds(context: RunContext) -> float:
    """Return the multiply-adds of the linear layers for the gradient of one training example.

    The output of the frozen layers is cached. Counted are the forward pass, the gradients of
    attributed weights, and the gradients of inputs that a lower layer needs. Attention products,
    norms and activations are left out, so this is a lower bound.
    """
    n = len(context.train_examples)
    picked = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:SAMPLE]
    counts = [_of_one(context, int(i)) for i in picked]
    return sum(counts) / len(counts)


def _of_one(context: RunContext, index: int) -> float:
    attributed = set(context.objective.space.names)
    total = 0.0

    def hook(name: str):
        def count(layer: nn.Linear, args: tuple, output: Tensor) -> None:
            nonlocal total
            passes = 1 + (f"{name}.weight" in attributed) + args[0].requires_grad
            total += passes * args[0].numel() * layer.out_features

        return count

    module = context.objective.module
    handles = [
        layer.register_forward_hook(hook(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    params = {k: v.detach().requires_grad_() for k, v in context.objective.params.items()}
    batch = context.objective.compute_prefix(context.train_examples.take(torch.tensor([index])))
    context.objective.outputs(params, batch)
    for handle in handles:
        handle.remove()
    return total
