"""Candidates: full scan, nearest neighbours or gradient sketches select the examples to score."""

from fastif.candidates.class_quota import ClassQuota
from fastif.candidates.faiss_index import CandidateIndex, Candidates, Index
from fastif.candidates.index_factory import find_faiss_builds, load_faiss
from fastif.candidates.retrieval import (
    ExhaustiveSearch,
    IndexSearch,
    NearestNeighbors,
    Search,
    SketchSearch,
    UnionSearch,
    compute_embeddings,
)
from fastif.candidates.sketch import (
    GradientSketcher,
    compute_query_sketches,
    compute_train_sketches,
)

__all__ = [
    "CandidateIndex",
    "Candidates",
    "ClassQuota",
    "ExhaustiveSearch",
    "GradientSketcher",
    "Index",
    "IndexSearch",
    "NearestNeighbors",
    "Search",
    "SketchSearch",
    "UnionSearch",
    "compute_embeddings",
    "compute_query_sketches",
    "compute_train_sketches",
    "find_faiss_builds",
    "load_faiss",
]
