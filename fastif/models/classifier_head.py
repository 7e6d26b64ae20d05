"""Logits and final representation of a classifier."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.errors import InputError


def extract_logits(
    output: object, count: int, where: str, chosen: str | int | None = None
) -> Float[Tensor, "b c"]:
    """Extract the logits [b c] from the output of a model.

    Outputs may be a tensor, a tuple with the logits first, a mapping, or an object with `.logits`.
    Of several logits, those of several losses, one must be chosen.

    Args:
        output: Return value of the model.
        count: Number b of rows in the batch.
        where: Name of the model for the error message.
        chosen: Name or position of the logits in a model with several outputs; None for the only
            ones.

    Raises:
        InputError: If there are no logits with one row for each example; or several, or none at the
            chosen place.
    """
    logits = _find_logits(output, where) if chosen is None else _pick(output, chosen, where)
    if torch.is_tensor(logits) and logits.is_floating_point():
        if logits.shape == (count,):
            return logits[:, None]
        if logits.dim() == 2 and len(logits) == count:
            return logits
    shape = f" of shape {list(logits.shape)}" if torch.is_tensor(logits) else ""
    name = "" if chosen is None else f" at the chosen output {chosen!r}"
    raise InputError(
        where,
        f"logits of shape [{count}, labels] for {count} texts: a tensor, the first of a tuple, or "
        f"under the name `logits`{name}",
        f"{type(output if chosen is None else logits).__name__}{shape}",
        "Use a sequence classifier with one row of logits for each text.",
    )


def _find_logits(output: object, where: str) -> object:
    if isinstance(output, (tuple, list)) and not isinstance(output, Mapping):
        return output[0] if output else None
    names = _list_logits(output)
    if len(names) > 1:
        raise InputError(
            where,
            "logits of one loss",
            f"several: {', '.join(names)}",
            'Choose one: [model] output = "NAME" in a study with a factory, or '
            "ModuleObjective(output=NAME).",
        )
    return (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    )


def _list_logits(output: object) -> list[str]:
    """Return the names of all logits of a mapping or an object, of which each is of a loss."""
    members = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
    return [
        name
        for name, value in members.items()
        if isinstance(name, str)
        and (name == "logits" or name.endswith("_logits"))
        and torch.is_tensor(value)
    ]


def _pick(output: object, chosen: str | int, where: str) -> object:
    """Return the chosen one of several outputs.

    Raises:
        InputError: There is none of this name or position.
    """
    if isinstance(chosen, int):
        if isinstance(output, (tuple, list)) and 0 <= chosen < len(output):
            return output[chosen]
        available = f"{len(output)} outputs, from 0" if isinstance(output, (tuple, list)) else ""
    else:
        members = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
        if chosen in members and not torch.is_tensor(output):
            return members[chosen]
        fields = getattr(output, "_asdict", dict)()  # of a named tuple
        if chosen in fields:
            return fields[chosen]
        available = ", ".join(map(str, fields or members)) if not torch.is_tensor(output) else ""
    raise InputError(
        where,
        f"an output {chosen!r}",
        available or f"a {type(output).__name__}",
        "Correct the name or position, or leave it out for a single output.",
    )


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
