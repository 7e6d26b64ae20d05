"""Which change broke it: forty injected incidents, bisected from their two runs.

`python -m benchmarks.bisect` reads SST-2 and AG News under FASTIF_DATA. Each incident is trained
and audited twice, before and after its change, and bisected with one confirmation. What is measured
is kept under benchmarks/.work, so that an interrupted benchmark continues. `--development` takes
the incidents of other seeds, on which sizes and recipe were chosen, and publishes nothing.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bisect.embedded_rows import TABLES, EmbeddedRows, prepare_rows
from benchmarks.bisect.incidents import FAULTS, SEED, make_incident
from benchmarks.bisect.nights import describe_recipe, run_nights
from benchmarks.bisect.report import build_pages
from benchmarks.machine import describe
from benchmarks.page import publish, render_pages
from tasks.bisection.bisect_runs import bisect_runs
from tasks.bisection.confirm import confirm_suspects
from tasks.study.study import load_study

WORK = Path("benchmarks/.work/bisect")
SEEDS = {**{fault: range(3) for fault in FAULTS}, SEED: range(5)}
MAX_SEEDS = max(map(len, SEEDS.values()))
DEVELOPMENT = 900
"""First seed of the development incidents."""


@dataclass(frozen=True)
class Outcome:
    """What the bisection of one incident found.

    Attributes:
        data: Name of the data set.
        fault: Kind of the fault.
        seed: Seed of the incident.
        change: Change of the mean loss of the slice, in nats.
        half_width: Half width of its 95 % interval over queries.
        place: Place of the guilty group in the order of the suspects, from 1; None without one.
        contribution: Predicted contribution of the guilty group, in nats.
        largest_other: Predicted contribution of the largest innocent group, in nats.
        margin: Margin of the noise of retraining, in nats.
        effect: Measured effect of the first suspect by retraining, in nats.
        verdict: Verdict on the first suspect.
        blames_guilty: Whether the guilty group is confirmed.
        blames_innocent: Whether another group is confirmed.
        seconds: Seconds of the bisection with its retrainings.
    """

    data: str
    fault: str
    seed: int
    change: float
    half_width: float
    place: int | None
    contribution: float | None
    largest_other: float
    margin: float | None
    effect: float | None
    verdict: str
    blames_guilty: bool
    blames_innocent: bool
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bisect")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--seeds", type=int, default=MAX_SEEDS, help="of each fault, fewer to try")
    parser.add_argument("--measured", action="store_true", help="publish what is measured so far")
    options = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "sst2").is_dir():
        sys.exit("FASTIF_DATA must name the folder with sst2/ and ag_news/")
    first = DEVELOPMENT if options.development else 0
    if options.measured:
        outcomes = list(read_outcomes(first))
    else:
        outcomes = list(measure_incidents(data, first, options.seeds))
    result = {"incidents": outcomes, "recipe": describe_recipe(), "machine": describe()}
    if options.development or options.seeds < MAX_SEEDS:
        print(render_pages(build_pages(result)))
    else:
        publish("bisect", result, build_pages(result))
    return 0


def measure_incidents(data: Path, first: int, most: int) -> Iterator[dict]:
    """Yield the outcome of each incident, measured or read from an interrupted benchmark."""
    tables = {name: prepare_rows(name, data, WORK) for name in TABLES}
    for name, fault, seed in list_incidents(first, most):
        path = name_outcome(name, fault, seed)
        if not path.is_file():
            outcome = asdict(measure_incident(tables[name], fault, seed))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(outcome), "utf-8")
        outcome = json.loads(path.read_text("utf-8"))
        print(json.dumps(outcome), file=sys.stderr, flush=True)
        yield outcome


def read_outcomes(first: int) -> Iterator[dict]:
    """Yield the outcomes that an interrupted benchmark has measured."""
    for incident in list_incidents(first, MAX_SEEDS):
        path = name_outcome(*incident)
        if path.is_file():
            yield json.loads(path.read_text("utf-8"))


def list_incidents(first: int, most: int) -> Iterator[tuple[str, str, int]]:
    """Yield data set, fault and seed of each incident; every seed has all data sets and faults."""
    for offset in range(most):
        for name in TABLES:
            for fault, seeds in SEEDS.items():
                if offset in seeds:
                    yield name, fault, first + offset


def name_outcome(name: str, fault: str, seed: int) -> Path:
    """Return the file of the outcome of an incident."""
    return WORK / "outcomes" / f"{name}-{fault.replace(' ', '-')}-{seed}.json"


def measure_incident(rows: EmbeddedRows, fault: str, seed: int) -> Outcome:
    """Run both nights of an incident and bisect them."""
    incident = make_incident(rows, fault, seed)
    study, store, before, after = run_nights(rows, incident, WORK)
    start = time.perf_counter()
    bisection = bisect_runs(store, before, after, incident.value)
    conclusion = confirm_suspects(load_study(study), store, bisection, 1)
    seconds = time.perf_counter() - start
    keys = [(each.group.kind, each.group.source) for each in bisection.contributions]
    values = dict(zip(keys, (each.value or 0.0 for each in bisection.contributions), strict=True))
    guilty = incident.culprit
    blamed = [(group.kind, group.source) for group in conclusion.blamed]
    reverted = next((each for each in conclusion.retrainings if each.group), None)
    noise = conclusion.bisection.noise
    return Outcome(
        rows.name,
        fault,
        seed,
        bisection.losses.change,
        bisection.losses.half_width,
        keys.index(guilty) + 1 if guilty else None,
        values[guilty] if guilty else None,
        max((value for key, value in values.items() if key != guilty), key=abs),
        noise.margin if noise else None,
        reverted.effect if reverted else None,
        conclusion.assess(reverted.group) if reverted and reverted.group else "",
        guilty in blamed,
        any(key != guilty for key in blamed),
        seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
