"""Layout of hidden states in a layer's output, and their form [b t d] for the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

AXES = ((0, 1, 2), (1, 0, 2), (0, 2, 1))
"""Orders of the axes of hidden states [b t d] that models use; each is its own inverse."""
Producer = tuple[str, int, int]
"""Module, number of its earlier calls, and place in its output."""


@dataclass(frozen=True)
class HiddenLayout:
    """Hidden states of one or more streams in the entries of a layer's output.

    Models that pad texts to a multiple of a window have more states than tokens, and those that
    pool tokens have fewer. The cache has one for each token, so states are cut or filled with zeros
    at the end.

    Attributes:
        places: Positions of the hidden states among the entries of the output.
        axes: Order of the axes [b t d] in the model.
        widths: Size d of each stream.
        shared: Entries that an earlier layer makes without hidden states, by position.
    """

    places: tuple[int, ...]
    axes: tuple[int, int, int]
    widths: tuple[int, ...]
    shared: Mapping[int, Producer] = field(default_factory=dict)

    @classmethod
    def find(
        cls, leaves: Sequence[object], places: Sequence[int], tokens: Tensor
    ) -> "HiddenLayout | None":
        """Find the order of axes; None if there is none with a row for each row of `tokens`."""
        states = [leaves[place] for place in places]
        if not states or not all(torch.is_tensor(state) and state.dim() == 3 for state in states):
            return None
        shape = states[0].shape  # type: ignore[attr-defined]
        axes = _find_axes(shape, tokens)
        if axes is None:
            return None
        ordered = [state.permute(axes) for state in states]  # type: ignore[attr-defined]
        if any(state.shape[:2] != ordered[0].shape[:2] for state in ordered):
            return None
        return cls(tuple(places), axes, tuple(state.shape[-1] for state in ordered))

    def with_shared(self, producers: Mapping[int, Producer]) -> "HiddenLayout":
        """Return the layout with entries that earlier layers make."""
        return replace(self, shared=producers)

    def join(self, leaves: Sequence[object], num_tokens: int) -> Float[Tensor, "b t d"]:
        """Join the streams of an output, with one state for each token."""
        states = [leaves[place].permute(self.axes) for place in self.places]  # type: ignore[attr-defined]
        return _resize(torch.cat(states, -1), num_tokens)

    def split(self, hidden: Float[Tensor, "b t d"], like: Tensor | None) -> dict[int, Tensor]:
        """Split cached states into streams as the model has them, by position in the output.

        Args:
            hidden: Cached states.
            like: Input of the layer, with as many states as the model expects.
        """
        if like is not None and like.dim() == 3:
            hidden = _resize(hidden, like.permute(self.axes).shape[1])
        streams = hidden.clone().split(self.widths, -1)  # some models change them in place
        return {p: s.permute(self.axes) for p, s in zip(self.places, streams, strict=True)}


def _find_axes(shape: Sequence[int], tokens: Tensor) -> tuple[int, int, int] | None:
    for axes in AXES:
        if [shape[axis] for axis in axes[:2]] == list(tokens.shape):
            return axes
    return AXES[0] if shape[0] == len(tokens) else None


def _resize(hidden: Float[Tensor, "b t d"], num_states: int) -> Float[Tensor, "b n d"]:
    if hidden.shape[1] == num_states:
        return hidden
    return F.pad(hidden[:, :num_states], (0, 0, 0, max(0, num_states - hidden.shape[1])))
