"""Comparison of a model in memory with its saved copy, which lacks its hooks and own code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fastif import InputError, load_model
from fastif.models.nondeterministic_module import Trace, find_differing_module
from fastif.models.probe_batch import make_probe_batches
from fastif.numerics.arithmetic import matmul_eps
from tasks.runtime.progress import print_line

NOT_COMPARED = "model: its outputs could not be compared with those of its saved copy"


@torch.no_grad()
def check_saved_copy(model: Any, folder: str) -> None:
    """Refuse a model with other outputs than its saved copy; it is left as it was.

    Args:
        model: Classifier in memory, in any precision and mode.
        folder: Folder to which it was saved.

    Raises:
        InputError: Outputs differ by more than rounding, or the copy cannot be loaded.
    """
    copy = load_model(folder, dtype=model.dtype)
    for batch in make_probe_batches(model):
        row = {name: batch[name][:1] for name in ("input_ids", "attention_mask")}
        try:
            copy.to(model.device).set_attn_implementation(model.config._attn_implementation)
            own, saved = _run(model, row), _run(copy, row)
        except Exception:  # the code of a model may raise anything
            continue
        if not _agree(own.calls[-1].outputs[0], saved.calls[-1].outputs[0]):
            raise _make_error(find_differing_module(own, saved, _agree))
        return
    print_line(NOT_COMPARED)


def _run(model: Any, row: dict[str, Tensor]) -> Trace:
    """Run a row in evaluation mode; the last call is that of the model."""
    with _evaluation_mode(model), _without_mixed_precision(model), Trace().record(model) as trace:
        model(**row)
    return trace


def _agree(first: Tensor, second: Tensor) -> bool:
    """Compare up to rounding."""
    if first.shape != second.shape or not first.is_floating_point():
        return first.shape == second.shape and torch.equal(first, second)
    bound = matmul_eps(first) ** 0.5 * float(first.abs().max())
    return torch.allclose(first, second, rtol=0, atol=bound, equal_nan=True)


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _without_mixed_precision(model: Any) -> Iterator[None]:
    """Context manager without the autocast that accelerate, and so a `Trainer`, puts around it."""
    wrapped = vars(model).get("forward")
    original = vars(model).get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    model.forward = original
    try:
        yield
    finally:
        model.forward = wrapped


def _make_error(module: str) -> InputError:
    return InputError(
        "model",
        "outputs that its configuration and weights determine",
        "other outputs than from its saved copy" + (f", first of {module}" if module else ""),
        "Remove its hooks and undo changes of its modules and methods, or audit it with "
        "fastif.ModuleObjective and fastif.Attributor, see docs/guides/library.md.",
    )
