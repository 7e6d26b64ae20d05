"""The head of a classifier: its logits, whatever they are wrapped in, and what it is given."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.errors import InputError


def extract_logits(output: object, count: int, where: str) -> Float[Tensor, "b c"]:
    """The logits in what a model returns: a tensor, a tuple, a mapping, or with `.logits`.

    Args:
        output: what it returned for `count` rows.
        count: b.
        where: names the model in a refusal.

    Raises:
        InputError: there are no logits in it, one row for each example.
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
        "Take a sequence classifier with one row of logits a text.",
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
    """Run `call` and return what the last linear layer of `module` was given for its logits.

    A head that is applied at every token gives the one whose outputs became the logits.

    Args:
        module: the model.
        call: runs it and returns the logits [b c].
        where: names the model in a refusal.

    Raises:
        InputError: the module has no linear layer.
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
