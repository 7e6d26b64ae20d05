"""Time and memory of sketches by number of training rows and queries.

`python -m benchmarks.bulk.scale` reads the phrases of SST-2 under FASTIF_DATA, runs each number of
rows in a separate process, and writes benchmarks/results/bulk-scale.json and
docs/results/sketch-scaling.md. The output of the frozen layers is not cached: each row passes once
through the whole model, is sketched, written, and searched from its file. Rows beyond the 67,349
phrases repeat them and are computed again. A million rows take more than an hour on two cores.

`--search` measures the search alone, in minutes, on random numbers in files of equal format: the
time of products, top-k and bottom-k does not depend on the numbers.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

import fastif
from benchmarks.bulk.scale_report import build_pages
from benchmarks.fidelity.texts import Sst2
from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from fastif.models.prefix_cache import PrefixCache
from tasks.run.row_chunks import map_chunk
from tasks.run.sketches import ROWS_PER_CHUNK, SKETCHES

WORK = Path("benchmarks/.work")
SIZES = (10_000, 100_000, 1_000_000)
QUERIES = (200, 2_000)
KEEP, BATCH, TOGETHER = 100, 64, 256
DAMPING, CURVATURE_ROWS, DIMENSIONS = 0.4, 2_000, 1_000


class Phrases(Sst2):
    """SST-2 phrases; the queries are whole sentences, repeated."""

    tables: ClassVar[tuple[str, str]] = ("sst2/train_phrases.parquet", "sst2/dev.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.scale")
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES, help="numbers of rows")
    parser.add_argument("--one", type=int, help="number of rows, for the child process")
    parser.add_argument("--search", action="store_true", help="the search alone; needs no data")
    arguments = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    if arguments.search:
        _publish(search=[time_search(rows) for rows in arguments.rows], searched_on=describe())
        return
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "sst2").is_dir():
        sys.exit("FASTIF_DATA must name the folder with sst2/")
    if arguments.one is not None:
        print(json.dumps(measure_scale(data, arguments.one)))
        return
    sizes = []
    for rows in arguments.rows:
        command = [sys.executable, "-m", "benchmarks.bulk.scale", "--one", str(rows)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        sizes.append(json.loads(done.stdout.splitlines()[-1]))
        print(sizes[-1], flush=True)
        _publish(sizes=sizes, machine=describe())


def _publish(**parts: object) -> None:
    """Replace these parts of the result and keep the parts of the other mode."""
    result = {**read_result("bulk-scale"), **parts}
    publish("bulk-scale", result, build_pages(result))


@dataclass
class Stages:
    """Seconds of each stage, and the peak memory of the process at its end."""

    seconds: dict[str, float]
    peak: dict[str, int]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_scale(data: Path, rows: int) -> dict:
    """Sketch this many rows, and search them for each number of queries."""
    stages = Stages({}, {})
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        with stages.stage("model and tokens"):
            corpus = Phrases(data, rows=min(rows, 67_349), queries=872, subsets=0)
            objective = corpus.start(0)
            distinct, other_rows = (
                PrefixCache(objective, corpus.tokens(part).with_batch_size(BATCH), 0)
                for part in (0, 1)
            )
            train = _repeat_rows(distinct, rows)
            query_examples = _repeat_rows(other_rows, max(QUERIES))
        with stages.stage("directions"):
            ids = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(0))
            curvature = fastif.GaussNewton(objective, distinct, ids[:CURVATURE_ROWS])
            sketcher = GradientSketcher.fit(curvature, DAMPING, dimensions=DIMENSIONS)
        with stages.stage("sketches"):
            stored = _write_sketches(Path(folder), sketcher, curvature.gradients, train)
        with stages.stage("query sketches"):
            queries = compute_query_sketches(sketcher, curvature.gradients, query_examples)
        stored.find_top_bottom(queries[:1], KEEP)  # the files are read once before the timing
        for number in QUERIES:
            with stages.stage(f"search, {number:,} queries"):
                for some in queries[:number].split(TOGETHER):
                    stored.find_top_bottom(some, KEEP)
    return {
        "rows": rows,
        "distinct": len(distinct),
        "tokens": float(train.lengths.double().mean()),
        "bytes_a_row": 2 * sketcher.dimensions,
        "seconds": stages.seconds,
        "peak": stages.peak,
    }


def time_search(rows: int) -> dict:
    """Return the seconds of a search by number of queries, minimum of three rounds."""
    generator = torch.Generator().manual_seed(0)
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        blocks = []
        for number, ids in enumerate(torch.arange(rows).split(ROWS_PER_CHUNK)):
            path = Path(folder) / f"{number}-{SKETCHES}"
            query_sketches = torch.randn(len(ids), DIMENSIONS, generator=generator).half()
            save_file({"rows": query_sketches}, path)
            blocks.append(_block(path, ids))
        stored = SketchIndex(blocks)
        queries = torch.randn(max(QUERIES), DIMENSIONS, generator=generator)
        stored.find_top_bottom(queries[:1], KEEP)  # the files are read once before the timing
        stages = Stages({}, {})
        for number in QUERIES:
            seconds_taken = []
            for _ in range(3):
                with stages.stage(f"search, {number:,} queries"):
                    for some in queries[:number].split(TOGETHER):
                        stored.find_top_bottom(some, KEEP)
                seconds_taken.append(stages.seconds[f"search, {number:,} queries"])
            stages.seconds[f"search, {number:,} queries"] = min(seconds_taken)
    print(rows, stages.seconds, flush=True)
    return {"rows": rows, "seconds": stages.seconds, "peak": stages.peak}


def _repeat_rows(examples: fastif.Examples, count: int) -> fastif.Examples:
    """Return this many rows, repeated from the first."""
    return examples.subset(torch.arange(count) % len(examples))


def _write_sketches(
    folder: Path,
    sketcher: GradientSketcher,
    gradients: fastif.Gradients,
    train: fastif.Examples,
) -> SketchIndex:
    """Write the sketches to files with as many rows as in an audit, one in memory at a time."""
    blocks = []
    for number, ids in enumerate(torch.arange(len(train)).split(ROWS_PER_CHUNK)):
        path = folder / f"{number}-{SKETCHES}"
        sketches = compute_train_sketches(sketcher, gradients, train, ids)
        save_file({"rows": sketches}, path)
        blocks.append(_block(path, ids))
    return SketchIndex(blocks)


def _block(path: Path, ids: Tensor) -> SketchBlock:
    return SketchBlock(partial(map_chunk, path), ids, torch.arange(len(ids)))


if __name__ == "__main__":
    main()
