"""Other packages' methods on the same workloads, each with its own recommended settings."""

from benchmarks.peers.peer import Peer
from benchmarks.peers.registry import PEERS

__all__ = ["PEERS", "Peer"]
