"""Recall of candidate methods against a full scan.

`python -m benchmarks.bulk retrieval` reads the data sets under FASTIF_DATA, trains the explained
models, runs a full scan, and writes benchmarks/results/bulk.json and docs/results/retrieval.md with
its plots. Finished parts are kept under benchmarks/.work and reused.
"""

import argparse
import os
import sys
from pathlib import Path

import torch

from benchmarks.bulk.report import build_pages, write_plots
from benchmarks.bulk.retrieval import CORPORA, retrieval
from benchmarks.page import ROOT, publish, read_result

PARTS = {"retrieval": retrieval}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk")
    parser.add_argument("part", choices=list(PARTS))
    names = ", ".join(corpus.name for corpus in CORPORA)
    parser.add_argument("corpora", nargs="*", default=[], help=f"{names}; default all")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    arguments = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "sst2").is_dir():
        sys.exit("FASTIF_DATA must name the folder with sst2/ and multinli/")
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    known = read_result("bulk")
    before = known.get(arguments.part, {})
    known[arguments.part] = PARTS[arguments.part](data, arguments.work, before, arguments.corpora)
    publish("bulk", known, build_pages(known))
    write_plots(ROOT / "docs" / "images", known)


main()
