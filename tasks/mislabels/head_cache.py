"""The heads of a search for wrong labels, each written when it is fitted.

A search asks for its heads in an order that depends on what it searches alone. So the number of a
head names it, and a killed search loses one at most. When the search is written they are removed.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.mislabels.linear_head import Head, fit_head
from storage import Store, fingerprint
from tasks.runtime.progress import Advance

KIND, FILE = "heads", "head.safetensors"
LEAST = 20_000
"""Rows from which a head takes seconds; below, writing would take longer than fitting again."""


class KeptHeads:
    """Fits heads as `fit_head` does, or finds them in the store.

    Args:
        store: keeps them.
        search: digest of the search.
        advance: is told of each.
        least: rows from which they are kept.
    """

    def __init__(self, store: Store, search: str, advance: Advance, least: int = LEAST) -> None:
        self.store, self.search, self.advance, self.least = store, search, advance, least
        self._asked: list[str] = []

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> Head:
        """The next head."""
        digest = fingerprint({"search": self.search, "number": len(self._asked)})
        self._asked.append(digest)
        folder = self.store.part(KIND, digest) if len(features) >= self.least else None
        if folder is not None:
            head = Head(**load_file(folder / FILE))
        else:
            head = fit_head(features, targets, penalty, weights)
            if len(features) >= self.least:
                self._write(digest, head)
        self.advance(1)
        return head

    def forget(self) -> None:
        """Remove those of this search."""
        others = set(self.store.parts(KIND)) - set(self._asked)
        self.store.keep_parts(KIND, others)

    def _write(self, digest: str, head: Head) -> None:
        tensors = {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}

        def write(folder: Path) -> None:
            save_file(tensors, folder / FILE)

        self.store.write_part(KIND, digest, write)
