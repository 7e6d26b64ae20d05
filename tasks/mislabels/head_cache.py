"""Cache of the linear heads of a running mislabel detection.

A detection fits its heads in an order that its input determines. So the number of a head is its
cache key, and an interrupted detection loses one head at most. They are removed when the detection
is stored.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.mislabels.linear_head import LinearHead, fit_linear_head
from storage import Store, compute_fingerprint
from tasks.runtime.progress import Advance

KIND, FILE = "heads", "head.safetensors"
MIN_ROWS = 20_000
"""Minimum number of rows of a cached head; with fewer, fitting is faster than writing."""


class HeadCache:
    """Head fitter like `fit_linear_head`, with a cache in the store.

    Args:
        store: Store that caches the heads.
        detection_digest: Cache key of the detection.
        advance: Progress callback, called with 1 after each head.
        min_rows: Minimum number of rows of a cached head.
    """

    def __init__(
        self, store: Store, detection_digest: str, advance: Advance, min_rows: int = MIN_ROWS
    ) -> None:
        self.store, self.detection_digest = store, detection_digest
        self.advance, self.min_rows = advance, min_rows
        self._digests: list[str] = []

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """Return the next head, from the cache or fitted."""
        digest = compute_fingerprint(
            {"search": self.detection_digest, "number": len(self._digests)}
        )
        self._digests.append(digest)
        folder = self.store.find_artifact(KIND, digest) if len(features) >= self.min_rows else None
        if folder is not None:
            head = LinearHead(**load_file(folder / FILE))
        else:
            head = fit_linear_head(features, targets, penalty, weights)
            if len(features) >= self.min_rows:
                self._write(digest, head)
        self.advance(1)
        return head

    def clear(self) -> None:
        """Remove the cached heads of this detection."""
        others = set(self.store.find_artifacts(KIND)) - set(self._digests)
        self.store.retain_artifacts(KIND, others)

    def _write(self, digest: str, head: LinearHead) -> None:
        tensors = {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}

        def write(folder: Path) -> None:
            save_file(tensors, folder / FILE)

        self.store.write_artifact(KIND, digest, write)
