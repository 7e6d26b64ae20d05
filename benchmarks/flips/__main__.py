"""Do claimed flips come true when the model is trained again?

`python -m benchmarks.flips` reads SST-2 and MultiNLI under FASTIF_DATA, claims flip sets of random
queries, trains again with each of them and with random sets of the same size, and writes
benchmarks/results/flips.json with its page. Finished queries are kept under benchmarks/.work.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch

from benchmarks.flips.fine_tuned import EPOCHS, RATE, FineTuned
from benchmarks.flips.heads import COMPONENTS, PENALTY, Head
from benchmarks.flips.outcomes import MAX_ROWS, measure_query
from benchmarks.flips.report import NAME, build_pages
from benchmarks.flips.subject import Subject
from benchmarks.machine import describe
from benchmarks.page import publish

WORK = Path("benchmarks/.work/flips")
ROWS, QUERIES = 2_000, 60
TUNED_ROWS, TUNED_QUERIES = 600, 10
"""Sizes of the fine-tuned models, each of whose trainings takes seconds."""
FACTS = {
    "max_rows": MAX_ROWS,
    "rows": ROWS,
    "tuned_rows": TUNED_ROWS,
    "components": COMPONENTS,
    "penalty": PENALTY,
    "epochs": EPOCHS,
    "rate": RATE,
}


def main() -> None:
    """Measure what is missing, and write the result and its page."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.flips")
    parser.add_argument("parts", nargs="*", help="sst2, multinli, sst2-tuned or multinli-tuned")
    parts = parser.parse_args().parts
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "sst2").is_dir():
        sys.exit("FASTIF_DATA must name the folder with sst2 and multinli")
    torch.set_num_threads(1)
    subjects: dict[str, tuple[Subject, int]] = {}
    for name in ("sst2", "multinli"):
        subjects[name] = Head(name, data, ROWS, QUERIES, WORK), QUERIES
        study = WORK / f"study-{name}"
        tuned = FineTuned(name, data, TUNED_ROWS, QUERIES, study)
        subjects[f"{name}-tuned"] = tuned, TUNED_QUERIES
    entries = {}
    for name, (subject, count) in subjects.items():
        folder, is_wanted = WORK / name, not parts or name in parts
        for query, relabel in product(range(count if is_wanted else 0), (False, True)):
            _measure(subject, query, relabel, folder)
        entries[name] = {"title": subject.title, "outcomes": _read(folder)}
    entries = {name: entry for name, entry in entries.items() if entry["outcomes"]}
    result = {**FACTS, "subjects": entries, "machine": describe()}
    publish(NAME, result, build_pages(result))


def _measure(subject: Subject, query: int, relabel: bool, folder: Path) -> None:
    path = folder / f"{'relabel' if relabel else 'remove'}-{query}.json"
    if path.is_file():
        return
    outcome = measure_query(subject, query, relabel)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(outcome)), "utf-8")
    print(folder.name, outcome, flush=True)


def _read(folder: Path) -> list[dict]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


if __name__ == "__main__":
    main()
