"""The files of the parts that a study's shards share: its candidate index, a solver's factor."""

from pathlib import Path

from safetensors.torch import load_file, save_file

import fastif
from storage import Store
from tasks.sections import FullScan, Knn, Sketches

INDEX, SKETCHER, FACTOR = "index.faiss", "sketcher.safetensors", "factor.safetensors"


def write_index(
    folder: Path, index: fastif.CandidateIndex, sketcher: fastif.Sketcher | None = None
) -> None:
    """Keep an index, and what made the sketches that it holds."""
    index.save(folder / INDEX)
    if sketcher is not None:
        save_file(sketcher.state(), folder / SKETCHER)


def read_search(
    store: Store, digest: str, candidates: Knn | Sketches | FullScan, objective: fastif.Objective
) -> fastif.Search:
    """Where to look, with the index that was prepared if it takes one."""
    if isinstance(candidates, FullScan):
        return fastif.Everything(candidates.keep)
    part = store.part("index", digest)
    assert part is not None, "the index is prepared before any shard"
    index = fastif.CandidateIndex.load(part / INDEX)
    if isinstance(candidates, Knn):
        return fastif.Nearest(index, candidates.k)
    sketcher = fastif.Sketcher.of_state(load_file(part / SKETCHER), objective)
    return fastif.Sketched(index, sketcher, candidates.k)


def write_factor(folder: Path, factor: fastif.Factor) -> None:
    """Keep a solver's factor as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in factor.items()}
    save_file(tensors, folder / FACTOR)


def read_factor(store: Store, digest: str) -> fastif.Factor | None:
    """The factor that was prepared, or None for a solver that has none."""
    part = store.part("factor", digest)
    return None if part is None else load_file(part / FACTOR)
