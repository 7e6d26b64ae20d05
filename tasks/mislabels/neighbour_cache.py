"""Cache of the nearest neighbours of a running mislabel detection.

The cache key is the content of the features with all settings of the search, so that an interrupted
detection reads them instead of another search. They are removed when the detection is stored.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.mislabels.knn import TILE_ROWS, find_neighbours
from storage import Store, compute_fingerprint
from tasks.mislabels.head_cache import MIN_ROWS
from tasks.runtime.progress import Advance

KIND, FILE = "neighbours", "neighbours.safetensors"


class NeighbourCache:
    """Search for neighbours like `find_neighbours`, with a cache in the store.

    Args:
        store: Store that caches the neighbours.
        procedure: Version of the detector, which is raised if a search has other results.
        min_rows: Minimum number of rows of a cached search; with fewer, searching is fast.
    """

    def __init__(self, store: Store, procedure: int, min_rows: int | None = None) -> None:
        self.store, self.procedure = store, procedure
        self.min_rows = MIN_ROWS if min_rows is None else min_rows
        self._digests: list[str] = []

    def __call__(self, features: Tensor, k: int, advance: Advance) -> Tensor:
        """Return the k nearest neighbours of each row, from the cache or searched, [n, k].

        Args:
            features: Features of the rows, [n, d].
            k: Number of neighbours.
            advance: Progress callback, called with a number of rows.
        """
        if len(features) < self.min_rows:
            return find_neighbours(features, k, advance)
        digest = self._compute_digest(features, k)
        self._digests.append(digest)
        neighbour_ids = self._read(digest, len(features), min(k, len(features) - 1))
        if neighbour_ids is not None:
            advance(len(features))
            return neighbour_ids
        neighbour_ids = find_neighbours(features, k, advance)
        self._write(digest, neighbour_ids)
        return neighbour_ids

    def clear(self) -> None:
        """Remove the cached neighbours of this detection."""
        others = set(self.store.find_artifacts(KIND)) - set(self._digests)
        self.store.retain_artifacts(KIND, others)

    def _compute_digest(self, features: Tensor, k: int) -> str:
        hasher = hashlib.sha256()
        for tile in features.split(TILE_ROWS):
            hasher.update(tile.contiguous().numpy().data)
        return compute_fingerprint(
            {
                "procedure": self.procedure,
                "neighbours": k,
                "features": hasher.hexdigest(),
                "shape": list(features.shape),
                "type": str(features.dtype),
            }
        )

    def _read(self, digest: str, rows: int, k: int) -> Tensor | None:
        """Read the neighbours; None if they are missing, damaged or of another shape."""
        folder = self.store.find_artifact(KIND, digest)
        if folder is None:
            return None
        try:
            neighbour_ids = load_file(folder / FILE)["neighbours"].long()
        except (OSError, SafetensorError, KeyError):
            return None
        is_whole = neighbour_ids.shape == (rows, k)
        # Of a file beyond a gigabyte the store compares the size only.
        is_whole = is_whole and bool(((neighbour_ids >= 0) & (neighbour_ids < rows)).all())
        return neighbour_ids if is_whole else None

    def _write(self, digest: str, neighbour_ids: Tensor) -> None:
        fits = len(neighbour_ids) <= torch.iinfo(torch.int32).max
        compact = neighbour_ids.to(torch.int32 if fits else torch.int64).contiguous()

        def write(folder: Path) -> None:
            save_file({"neighbours": compact}, folder / FILE)

        self.store.write_artifact(KIND, digest, write)
