"""Where to look for influential training examples."""

from fastif.candidates.index import CandidateIndex, Candidates, faiss_builds, load_faiss
from fastif.candidates.search import Everything, Nearest, candidates_of, embeddings

__all__ = [
    "CandidateIndex",
    "Candidates",
    "Everything",
    "Nearest",
    "candidates_of",
    "embeddings",
    "faiss_builds",
    "load_faiss",
]
