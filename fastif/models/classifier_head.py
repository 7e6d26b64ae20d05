"""Logits and final representation of a classifier."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.errors import InputError


def extract_logits(output: object, count: int, where: str) -> Float[Tensor, "b c"]:
    """Extract the logits [b c] from the output of a model.

    Outputs may be a tensor, a tuple with the logits first, a mapping, or an object with `.logits`.

    Args:
        output: Return value of the model.
        count: Number b of rows in the batch.
        where: Name of the model for the error message.

    Raises:
        InputError: If there are no logits with one row for each example.
    """
    logits = _find_logits(output)
    if torch.is_tensor(logits) and logits.is_floating_point():
        if logits.shape == (count,):
            return logits[:, None]
        if logits.dim() == 2 and len(logits) == count:
            return logits
    shape = f" of shape {list(logits.shape)}" if torch.is_tensor(logits) else ""
    raise InputError(
        where,
        f"logits of shape [{count}, labels] for {count} texts: a tensor, the first of a tuple, or "
        "under the name `logits`",
        f"{type(output).__name__}{shape}",
        "Use a sequence classifier with one row of logits for each text.",
    )


def _find_logits(output: object) -> object:
    if isinstance(output, Mapping):
        return output.get("logits")
    if isinstance(output, (tuple, list)):
        return output[0] if output else None
    return getattr(output, "logits", output)


@torch.no_grad()
def capture_head_input(
    module: nn.Module, call: Callable[[], Tensor], where: str
) -> Float[Tensor, "b d"]:
    """Run `call` and return the input of the last linear layer that made its logits.

    For a head that is applied at every token, this is the input at the token with the logits.

    Args:
        module: Model to run.
        call: Function that runs it and returns the logits [b c].
        where: Name of the model for the error message.

    Raises:
        InputError: If the module has no linear layer.
    """
    captured: dict[str, Tensor] = {}

    def record(_: nn.Module, args: tuple, output: Tensor) -> None:
        captured.update(given=args[0], made=output)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        logits = call()
    finally:
        for handle in handles:
            handle.remove()
    if not captured:
        raise InputError(
            where,
            "a linear layer to take the final representation from",
            "none",
            'Use the full training set as candidates (kind = "full").',
        )
    inputs, outputs = captured["given"], captured["made"]
    if inputs.dim() == 3 and outputs.shape[-1:] == logits.shape[-1:]:
        token = (outputs - logits[:, None]).abs().sum(-1).argmin(1)
        return inputs[torch.arange(len(inputs), device=inputs.device), token]
    return inputs.flatten(1)
