"""How time and memory of sketches grow with training rows and queries; see docs/results.md.

`python -m benchmarks.bulk.scale` reads MultiNLI and SST-2 under FASTIF_DATA, does each size in a
process of its own, and writes benchmarks/results/bulk-scale.json and its section of
docs/results.md. Rows beyond those of a data set are its rows again; their sketches are made anew.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import fastif
from benchmarks.bulk.corpora import MultiNli
from benchmarks.bulk.scale_report import write_section
from benchmarks.fidelity.texts import Sst2, Texts
from benchmarks.machine import describe
from fastif.candidates.sketch import query_sketches
from fastif.candidates.stored import Block, StoredSketches
from fastif.examples import Selected

RESULT = Path("benchmarks/results/bulk-scale.json")
WORK = Path("benchmarks/.work")
BLOCK, K, BATCH, TOGETHER = 8192, 200, 64, 256
DAMPING, CURVATURE_ROWS, DIMENSIONS = 0.4, 2_000, 1_000


@dataclass(frozen=True)
class Size:
    """One process.

    Attributes:
        corpus: whose rows are sketched.
        sketched: training rows.
        searched: numbers of rows that are then searched, one after the other; beyond those that
            were sketched, blocks are copied.
    """

    corpus: str
    sketched: int
    searched: tuple[int, ...]


SIZES = (
    Size("multinli", 25_000, (25_000,)),
    Size("sst2", 10_000, (10_000,)),
    Size("sst2", 100_000, (100_000, 1_000_000)),
)
QUERIES = (200, 2_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.scale")
    parser.add_argument("--one", type=int, help="number of a size, for the process that does it")
    arguments = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "multinli").is_dir():
        sys.exit("FASTIF_DATA must name the folder with multinli/ and sst2/")
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    if arguments.one is not None:
        print(json.dumps(measured(data, SIZES[arguments.one])))
        return
    found = []
    for number in range(len(SIZES)):
        command = [sys.executable, "-m", "benchmarks.bulk.scale", "--one", str(number)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
        RESULT.write_text(json.dumps({"sizes": found, "machine": describe()}, indent=1) + "\n")
    write_section(Path("docs/results.md"), json.loads(RESULT.read_text("utf-8")))


def measured(data: Path, size: Size) -> dict:
    """Seconds of every stage, and the process's peak memory after each search."""
    seconds: dict[str, float] = {}
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        with clock(seconds, "hidden states"):
            corpus = _corpus(data, size)
            train, queries = corpus.train, corpus.asked
        objective = corpus.start(0)
        with clock(seconds, "directions"):
            ids = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
            curvature = fastif.GaussNewton(objective, train, ids[:CURVATURE_ROWS], BATCH)
            sketcher = fastif.Sketcher.fit(curvature, DAMPING, dimensions=DIMENSIONS)
        with clock(seconds, "sketches"):
            again = _again(train, size.sketched)
            files = _write(Path(folder), sketcher, curvature.gradients, again)
        with clock(seconds, "query sketches"):
            asked = _again(queries, max(QUERIES))
            gradients = fastif.Gradients(objective)
            rows = query_sketches(sketcher, gradients, asked, fastif.every(asked), BATCH)
        found = [_searched(files, count, rows) for count in size.searched]
    tokens = float(train.lengths.double().mean())
    told = {"narrowed": sketcher.fold.folding.size, "tokens": tokens, "distinct": len(train)}
    return {**asdict(size), "seconds": seconds, "searches": found, **told}


def _searched(files: list[Path], count: int, queries: torch.Tensor) -> dict:
    """Seconds to search so many rows, for each number of queries."""
    stored, seconds = _stored(files, count), {}
    stored.ends(queries[:1], K // 2)  # the files are read once before
    for number in QUERIES:
        with clock(seconds, str(number)):
            for some in queries[:number].split(TOGETHER):
                stored.ends(some, K // 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": count, "seconds": seconds, "peak": peak}


class clock:  # noqa: N801
    """Adds the wall seconds of a block to a table."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.start


def _corpus(data: Path, size: Size) -> Texts:
    if size.corpus == "multinli":
        return MultiNli(data, rows=size.sketched, queries=max(QUERIES))
    return Sst2(data, rows=6_920, queries=872, subsets=0)


def _again(examples: fastif.Examples, count: int) -> fastif.Examples:
    """So many, from the first on again and again."""
    return Selected(examples, torch.arange(count) % len(examples))


def _write(
    folder: Path, sketcher: fastif.Sketcher, gradients: fastif.Gradients, train: fastif.Examples
) -> list[Path]:
    files = []
    for number, ids in enumerate(torch.arange(len(train)).split(BLOCK)):
        rows = fastif.train_sketches(sketcher, gradients, train, ids, BATCH)
        files.append(folder / f"{number}.safetensors")
        save_file({"rows": rows}, files[-1])
    return files


def _stored(files: list[Path], total: int) -> StoredSketches:
    """Blocks for all rows: beyond those sketched, copies of them in files of their own."""
    blocks, start, number = [], 0, 0
    while start < total:
        path = files[number % len(files)]
        if number >= len(files):
            path = path.with_name(f"{number}.safetensors")
            path.write_bytes(files[number % len(files)].read_bytes())
        with safe_open(path, framework="pt") as file:
            rows = file.get_tensor("rows")
        count = min(len(rows), total - start)
        blocks.append(Block(rows, torch.arange(start, start + count), torch.arange(count)))
        start, number = start + count, number + 1
    return StoredSketches(blocks)


if __name__ == "__main__":
    main()
