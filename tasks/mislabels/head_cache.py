"""The heads of a search for wrong labels, each written when it is fitted.

A search asks for its heads in an order that depends on what it searches alone. So the number of a
head names it, and a killed search loses one at most. When the search is written they are removed.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.mislabels.linear_head import LinearHead, fit_linear_head
from storage import Store, compute_fingerprint
from tasks.runtime.progress import Advance

KIND, FILE = "heads", "head.safetensors"
MIN_ROWS = 20_000
"""Rows from which a head takes seconds; below, writing would take longer than fitting again."""


class HeadCache:
    """Fits heads as `fit_linear_head` does, or finds them in the store.

    Args:
        store: keeps them.
        detection_digest: digest of the search.
        advance: is told of each.
        min_rows: rows from which they are kept.
    """

    def __init__(
        self, store: Store, detection_digest: str, advance: Advance, min_rows: int = MIN_ROWS
    ) -> None:
        self.store, self.search, self.advance, self.least = (
            store,
            detection_digest,
            advance,
            min_rows,
        )
        self._asked: list[str] = []

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """The next head."""
        digest = compute_fingerprint({"search": self.search, "number": len(self._asked)})
        self._asked.append(digest)
        folder = self.store.find_artifact(KIND, digest) if len(features) >= self.least else None
        if folder is not None:
            head = LinearHead(**load_file(folder / FILE))
        else:
            head = fit_linear_head(features, targets, penalty, weights)
            if len(features) >= self.least:
                self._write(digest, head)
        self.advance(1)
        return head

    def clear(self) -> None:
        """Remove those of this search."""
        others = set(self.store.find_artifacts(KIND)) - set(self._asked)
        self.store.retain_artifacts(KIND, others)

    def _write(self, digest: str, head: LinearHead) -> None:
        tensors = {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}

        def write(folder: Path) -> None:
            save_file(tensors, folder / FILE)

        self.store.write_artifact(KIND, digest, write)
