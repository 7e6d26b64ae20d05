"""Cache of the hidden states of frozen layers in a memory-mapped file."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fastif.data.examples import Examples
from fastif.models.objective import Objective
from fastif.models.padding import remove_padding

STATES_FILE, POSITIONS_FILE = "states.bin", "places.npz"


class HiddenStateFile:
    """Hidden states of examples in one flat file: token after token, without padding.

    Those of images are feature maps, whose channels take the place of tokens.

    The file is mapped again for each batch, so that pages that were read do not stay in memory.

    Args:
        folder: Folder written by `write`.
    """

    def __init__(self, folder: Path) -> None:
        with np.load(folder / POSITIONS_FILE) as arrays:
            places, lengths, like = arrays["places"], arrays["lengths"], arrays["like"]
        ends = lengths.cumsum()
        spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
        self._spans = dict(zip(places.tolist(), spans, strict=True))
        self._shape, self._dtype = (int(ends[-1]), *like.shape[1:]), like.dtype
        # Stays open: another process may remove the file, to make room for newer ones.
        self._file = (folder / STATES_FILE).open("rb")

    def __contains__(self, place: int) -> bool:
        return place in self._spans

    def __len__(self) -> int:
        return len(self._spans)

    def take(self, places: Sequence[int]) -> list[Tensor]:
        """Return the hidden states of these examples, one row for each token."""
        states = np.memmap(self._file, self._dtype, "r", shape=self._shape)
        spans = (self._spans[place] for place in places)
        return [torch.from_numpy(np.array(states[start:stop])) for start, stop in spans]

    @classmethod
    def write(
        cls,
        folder: Path,
        objective: Objective,
        examples: Examples,
        groups: Iterable[Int[Tensor, " _"]],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Compute and write the hidden states of groups of examples, one group in memory at a time.

        Args:
            folder: Existing empty folder for the files.
            objective: Model with frozen layers.
            examples: Tokens of the examples.
            groups: Positions of examples, each group one forward pass.
            progress: Function that receives the number of examples just written.
        """
        written: list[Tensor] = []
        lengths: list[int] = []
        like = np.empty((0, 0), np.float32)
        with (folder / STATES_FILE).open("wb") as file:
            for places in groups:
                for row in remove_padding(objective.compute_prefix(examples.take(places))):
                    like = _to_numpy(row)
                    lengths.append(len(like))
                    file.write(like.tobytes())
                written.append(places)
                if progress:
                    progress(len(places))
        places = torch.cat(written)
        arrays = {"places": places.numpy(), "lengths": np.array(lengths), "like": like[:0]}
        np.savez(folder / POSITIONS_FILE, **arrays)


def _to_numpy(row: Tensor) -> np.ndarray:
    """Return a numpy array; bfloat16, which numpy lacks, becomes exact float32."""
    row = row.detach().cpu()
    return (row.float() if row.dtype == torch.bfloat16 else row).numpy()
