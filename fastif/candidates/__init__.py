"""Where to look for influential training examples."""

from fastif.candidates.index import CandidateIndex, Candidates, faiss_builds, load_faiss

__all__ = ["CandidateIndex", "Candidates", "faiss_builds", "load_faiss"]
