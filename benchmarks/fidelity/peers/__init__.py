"""Other packages' methods on the same workloads, each with its own recommended settings."""

from benchmarks.fidelity.peers.peer import Peer
from benchmarks.fidelity.peers.registry import PEERS

__all__ = ["PEERS", "Peer"]
