"""Norms of the training rows' effects, by which a ranking is normalised, as an artifact."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from storage import Store

KIND, FILE, KEY = "norms", "norms.safetensors", "norms"


def write_row_norms(store: Store, digest: str, norms: Float[Tensor, " n"]) -> None:
    """Write the norms of all training rows under the cache key of the estimator's selection."""

    def write(folder: Path) -> None:
        save_file({KEY: norms.float().cpu().contiguous()}, folder / FILE)

    store.write_artifact(KIND, digest, write)


def read_row_norms(store: Store, digest: str) -> Float[Tensor, " n"] | None:
    """Read the norms of all training rows; None if they are missing."""
    artifact = store.find_artifact(KIND, digest)
    return None if artifact is None else torch.as_tensor(load_file(artifact / FILE)[KEY])
