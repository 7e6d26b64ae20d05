"""Where to look for influential training examples."""

from fastif.candidates.class_quota import Quota
from fastif.candidates.faiss_index import CandidateIndex, Candidates, Index
from fastif.candidates.index_factory import faiss_builds, load_faiss
from fastif.candidates.retrieval import (
    Everything,
    Nearest,
    Search,
    Sketched,
    United,
    candidates_of,
    embeddings,
)
from fastif.candidates.sketch import Sketcher, query_sketches, train_sketches

__all__ = [
    "CandidateIndex",
    "Candidates",
    "Everything",
    "Index",
    "Nearest",
    "Quota",
    "Search",
    "Sketched",
    "Sketcher",
    "United",
    "candidates_of",
    "embeddings",
    "faiss_builds",
    "load_faiss",
    "query_sketches",
    "train_sketches",
]
