"""Run a peer in a separate process."""

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
    """Outcome of a peer on a workload.

    Attributes:
        name: Name of the peer.
        version: Version of its package; None if it is not installed.
        settings: Settings in words.
        seconds: Wall seconds from the trained model to the scores; None without scores.
        cpu_seconds: CPU seconds over all cores; None without scores.
        loaded_mb: Peak memory in MB before its work, with workload and package loaded.
        peak_mb: Peak memory of the process in MB.
        failure: Reason why there are no scores: unsupported, failed, killed or too slow.
        path: File of the scores.
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
        """Return the scores; only without a failure."""
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
    """Run a peer on the workload saved in `folder`; its failures become its outcome.

    Args:
        name: Key of `PEERS`.
        folder: Folder that `save_plain` wrote.
        results: Folder of the scores.
        seed: Random seed of the peer.
        threads: Number of threads of torch.
        memory_gb: Limit of its data in GB.
        limit_seconds: Time limit, after which it is killed.
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
    """Return the reason why a process wrote no report."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (
            ", most likely out of memory" if -code == signal.SIGKILL else ""
        )
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"ended with code {code}"
