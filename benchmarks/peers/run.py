"""Running a peer in a process of its own, from outside."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.peers.registry import PEERS


@dataclass(frozen=True)
class Outcome:
    """What came of a peer on a workload.

    Attributes:
        name: of the peer.
        version: of its package; None if it is not installed.
        settings: in words.
        seconds: wall time from the trained model to the scores; None if there are none.
        cpu_seconds: the same over all cores.
        loaded_mb: peak memory before it began, with the workload and its package loaded.
        peak_mb: peak memory of the process.
        failure: why there are no scores: it refuses, failed, was killed or took too long.
        path: of the scores.
    """

    name: str
    version: str | None = None
    settings: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    loaded_mb: float | None = None
    peak_mb: float | None = None
    failure: str | None = None
    path: Path | None = None

    def scores(self) -> Float[Tensor, "q n"]:
        """The scores; only where there is no failure."""
        assert self.path is not None
        return load_file(self.path)["scores"]


def run_peer(
    name: str,
    folder: Path,
    results: Path,
    *,
    seed: int = 0,
    threads: int = 2,
    memory_gb: float = 12,
    limit_seconds: float = 1800,
) -> Outcome:
    """Run a peer on the workload saved in `folder`; whatever goes wrong in it is its outcome.

    Args:
        name: a key of `PEERS`.
        folder: what `save_plain` wrote.
        results: where the scores go.
        seed: of the peer's randomness.
        threads: that torch may use.
        memory_gb: that its data may take before it fails.
        limit_seconds: after which it is ended.
    """
    peer = PEERS[name]
    if peer.version is None:
        return Outcome(name, failure=f"{peer.package} is not installed: the extra bench-peers")
    results.mkdir(parents=True, exist_ok=True)
    out = results / name.lower().replace(", ", "-").replace(" ", "-")
    for suffix in (".json", ".safetensors"):
        Path(f"{out}{suffix}").unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    module = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers"]
    arguments = [name, str(folder), str(out), str(seed), str(memory_gb)]
    try:
        done = subprocess.run(
            [*module, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(name, peer.version, failure=f"ended after {limit_seconds:g} seconds")
    if not Path(f"{out}.json").is_file():
        return Outcome(name, peer.version, failure=_last_words(done.returncode, done.stderr))
    report = json.loads(Path(f"{out}.json").read_text())
    return Outcome(**report, path=Path(f"{out}.safetensors") if "seconds" in report else None)


def _last_words(code: int, errors: str) -> str:
    """How a process ended that wrote no report."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (
            ", most likely out of memory" if -code == signal.SIGKILL else ""
        )
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"ended with code {code}"
