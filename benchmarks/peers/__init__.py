"""Methods of other packages on the workloads, each with its recommended settings."""

from benchmarks.peers.peer import Peer
from benchmarks.peers.registry import PEERS

__all__ = ["PEERS", "Peer"]
