"""Replacement of frozen layers in a truncated model."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fastif.models.hidden_layout import HiddenLayout
from fastif.models.layer_calls import RecordedCall


@dataclass(eq=False)
class Substitution:
    """Hidden states that replace the frozen layers in one forward pass.

    Attributes:
        hidden: Hidden states [b t d] at the truncation point.
        layout: Place of the hidden states in the output of the last frozen call.
        counts: Number of calls of each frozen layer in this pass.
        results: Outputs of the frozen layers that are run, by module and call.
    """

    hidden: Tensor
    layout: HiddenLayout
    counts: Counter[str] = field(default_factory=Counter)
    results: dict[tuple[str, int], list[object]] = field(default_factory=dict)

    def make_entries(self, like: Tensor | None) -> dict[int, object]:
        """Return entries of the last frozen call's output by position."""
        shared = self.layout.shared.items()
        return {
            **self.layout.split(self.hidden, like),
            **{i: self.results[name, call][place] for i, (name, call, place) in shared},
        }


_substitution: ContextVar[Substitution | None] = ContextVar("_substitution", default=None)


@contextmanager
def substitute_hidden(substitution: Substitution) -> Iterator[None]:
    """Context manager of one forward pass with these hidden states."""
    token = _substitution.set(substitution)
    try:
        yield
    finally:
        _substitution.reset(token)


@dataclass(frozen=True, eq=False)
class SkippedCall:
    """Output structure of a frozen call.

    Attributes:
        entries: Entries of the output without tensors.
        structure: Nesting of the entries.
        hidden_place: Position of the hidden state.
        is_last: Whether its output is replaced by cached hidden states.
        is_run: Whether the layer is run, for entries that do not depend on hidden states.
    """

    entries: Sequence[object]
    structure: pytree.TreeSpec
    hidden_place: int
    is_last: bool
    is_run: bool

    @classmethod
    def of(cls, call: RecordedCall, is_last: bool, is_run: bool) -> "SkippedCall":
        """Read the structure of a recorded call."""
        entries, structure = pytree.tree_flatten(call.output)
        place = next((i for i, entry in enumerate(entries) if torch.is_tensor(entry)), 0)
        plain = [None if torch.is_tensor(entry) else entry for entry in entries]
        return cls(plain, structure, place, is_last, is_run)


class FrozenLayer(nn.Module):
    """Replacement of a frozen layer: returns its hidden argument in the layer's output structure.

    Models read attributes of a layer before they call it (its kind of attention, say), so it has
    the attributes of the layer.
    """

    def __init__(self, name: str, layer: nn.Module, calls: Sequence[SkippedCall]) -> None:
        super().__init__()
        own = vars(self)
        own["name"], own["original"], own["calls"] = name, (layer,), calls  # no submodule
        kept = {key: value for key, value in vars(layer).items() if key not in (*own, "forward")}
        own.update(kept)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(vars(self)["original"][0], name)

    def forward(self, *args: object, **kwargs: object) -> object:
        substitution = _substitution.get()
        number = substitution.counts[self.name] if substitution else 0
        if substitution:
            substitution.counts[self.name] += 1
        call = self.calls[number] if number < len(self.calls) else None
        if call is None or call.is_run:
            with torch.no_grad():
                output = self.original[0](*args, **kwargs)
            if substitution:
                substitution.results[self.name, number] = pytree.tree_leaves(output)
            return output
        hidden = _find_hidden(args, kwargs)
        entries = {call.hidden_place: hidden}
        if call.is_last and substitution:
            entries = substitution.make_entries(hidden)
        leaves = [entries.get(i, entry) for i, entry in enumerate(call.entries)]
        return pytree.tree_unflatten(leaves, call.structure)


def _find_hidden(args: tuple, kwargs: dict) -> Tensor | None:
    """Return the hidden states among the arguments of a layer: the first tensor."""
    named = kwargs.get("hidden_states")
    tensors = (x for x in (*args, named, *kwargs.values()) if torch.is_tensor(x))
    return next(tensors, None)
