"""The files of the parts that a study's shards share: its candidate index, a solver's factor."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import fastif
from fastif.candidates import ClassQuota, IndexSearch, Search
from fastif.solvers import Factor
from storage import Store
from tasks.run.sketches import read_sketches
from tasks.study.candidates import (
    AnyCandidates,
    AnyMethod,
    FullScanSection,
    KnnSection,
    UnionSection,
)

INDEX, FACTOR = "index.faiss", "factor.safetensors"


def write_index(folder: Path, index: fastif.CandidateIndex) -> None:
    """Keep an index of representations."""
    index.save(folder / INDEX)


def read_search(
    store: Store,
    digests: Sequence[str],
    candidates: AnyCandidates,
    objective: fastif.Objective,
    labels: torch.Tensor,
) -> Search:
    """Where to look, with the indices that were prepared if it takes some.

    Args:
        store: holds them.
        digests: of the index of each method that searches.
        candidates: the section of the study.
        objective: the model.
        labels: of the training rows, for quotas.
    """
    if isinstance(candidates, FullScanSection):
        in_bfloat16 = candidates.precision == "bfloat16"
        return fastif.ExhaustiveSearch(candidates.keep, in_bfloat16, candidates.rank)
    pairs = zip(candidates.methods, digests, strict=True)
    methods = [
        read_search_method(store, digest, method, objective, labels) for method, digest in pairs
    ]
    return fastif.UnionSearch(methods) if isinstance(candidates, UnionSection) else methods[0]


def read_search_method(
    store: Store,
    digest: str,
    method: AnyMethod,
    objective: fastif.Objective,
    labels: torch.Tensor,
) -> IndexSearch:
    """One method that searches, with its index."""
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is prepared before any shard"
    assert method.k is not None, "k is given or chosen before any shard"
    quota = None if method.quota is None else ClassQuota(labels, method.quota)
    if isinstance(method, KnnSection):
        return fastif.NearestNeighbors(
            fastif.CandidateIndex.load(artifact / INDEX), method.k, quota
        )
    index, sketcher = read_sketches(store, digest, method.factory, objective)
    return fastif.SketchSearch(index, sketcher, method.k, quota, method.rescore)


def write_factor(folder: Path, factor: Factor) -> None:
    """Keep a solver's factor as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in factor.items()}
    save_file(tensors, folder / FACTOR)


def read_factor(store: Store, digest: str) -> Factor | None:
    """The factor that was prepared, or None for a solver that has none."""
    artifact = store.find_artifact("factor", digest)
    return None if artifact is None else load_file(artifact / FACTOR)
