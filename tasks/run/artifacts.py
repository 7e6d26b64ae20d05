"""Artifacts that the shards of a run share: the candidate index and the solver's factor."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import fastif
from fastif.candidates import ClassQuota, IndexSearch, Search
from fastif.solvers import Factor
from storage import Store
from tasks.run.index_kinds import INDEX_KINDS
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidate_section import IndexSection

FACTOR = "factor.safetensors"


def read_search(
    store: Store,
    digests: Sequence[str],
    candidates: AnyCandidates,
    objective: fastif.Objective,
    labels: torch.Tensor,
) -> Search:
    """Return the candidate search of a run, with its indexes read from the store.

    Args:
        store: Store of the study.
        digests: Cache key of the index of each method that searches one.
        candidates: Section `[candidates]` of the study.
        objective: Model and loss.
        labels: Labels of the training rows, used for class quotas, [n].
    """
    pairs = zip(candidates.methods, digests, strict=True)
    methods = [
        read_search_method(store, digest, method, objective, labels) for method, digest in pairs
    ]
    return candidates.make_search(len(labels), methods)


def read_search_method(
    store: Store,
    digest: str,
    method: IndexSection,
    objective: fastif.Objective,
    labels: torch.Tensor,
) -> IndexSearch:
    """Return one search method with its index."""
    quota = None if method.quota is None else ClassQuota(labels, method.quota)
    return INDEX_KINDS[method.kind].read(store, digest, method, objective, quota)


def write_factor(folder: Path, factor: Factor) -> None:
    """Write a solver's factor as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in factor.items()}
    save_file(tensors, folder / FACTOR)


def read_factor(store: Store, digest: str) -> Factor | None:
    """Read a solver's factor; None if there is none."""
    artifact = store.find_artifact("factor", digest)
    return None if artifact is None else load_file(artifact / FACTOR)
