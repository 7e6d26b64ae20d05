"""Run one peer in a separate process, so that its failure and peak memory are isolated.

    python -m benchmarks.peers NAME FOLDER OUT SEED MEMORY_GB

It reads the workload that `save_plain` wrote into FOLDER, and writes OUT.safetensors with the
scores and OUT.json with their cost, or with the reason why there are none.
"""

import json
import resource
import sys
import time
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.example import peak_megabytes
from benchmarks.peers.peer import Peer
from benchmarks.peers.plain import Plain, load_plain
from benchmarks.peers.registry import PEERS
from benchmarks.peers.rows import by_length, restore_order


def measure_peer(peer: Peer, plain: Plain, seed: int, out: Path) -> dict:
    """Write the scores and return their cost."""
    ordered, query, train = by_length(plain)
    loaded, wall, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
    scores = peer.scores(ordered, seed)
    elapsed = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    expected = (len(plain.query_labels), len(plain.train_labels))
    if tuple(scores.shape) != expected:
        raise ValueError(f"scores of shape {tuple(scores.shape)} instead of {expected}")
    nonfinite = int((~scores.isfinite()).sum())
    if nonfinite:
        raise ValueError(f"{nonfinite} of {scores.numel()} scores are not finite")
    save_file(
        {"scores": restore_order(scores.detach().float(), query, train)}, f"{out}.safetensors"
    )
    return {**elapsed, "loaded_mb": loaded, "peak_mb": peak_megabytes()}


def attempt(peer: Peer, plain: Plain, seed: int, out: Path, memory_gb: float) -> dict:
    """Run the peer within a memory limit; an exception becomes its report."""
    _ = peer.function  # its package is imported before the timing starts
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        return measure_peer(peer, plain, seed, out)
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}", "peak_mb": peak_megabytes()}


def main(arguments: list[str]) -> None:
    name, folder, out, seed, memory_gb = arguments
    peer = PEERS[name]
    plain = load_plain(Path(folder))
    report = {"name": name, "version": peer.version, "settings": peer.describe(plain)}
    refusal = peer.explain_refusal(plain)
    if refusal:
        report |= {"failure": f"not run: {refusal}"}
    else:
        report |= attempt(peer, plain, int(seed), Path(out), float(memory_gb))
    Path(f"{out}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
