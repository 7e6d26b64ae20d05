"""A year of incremental nights in one store: time of a night and of the commands, and files.

`python -m benchmarks.nightly.year` audits the tiny study of the tests by sketches with `[carry]`
for 365 nights in this process. Each night replaces a query, each seventh changes the training table
(a row added, one removed, one with another label), and each sixtieth has another model, hence a
full run. The store is copied after 5 and 40 nights and at the end. Then one more carried night and
the commands are timed on copies of the three stores in turn, several times. A day, after which
replaced files are removed, is a second here.
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.page import (
    ResultPage,
    bullets,
    describe_machine,
    format_goal,
    publish,
    render_pages,
    table,
)
from tests import tiny

NAME = "year"
NIGHTS, FIRST = 365, 5
COPIED = (FIRST, 40)
REPEATS = 5
DAY = 1.0
LIMITS = {"night": 1.2, "files": 15}
CHANGED_MODEL, CHANGED_TRAIN = 60, 7
WORK = Path("benchmarks/.work/year")
COMMANDS = ("runs", "top", "report", "gc")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.nightly.year")
    parser.add_argument("--nights", type=int, default=NIGHTS)
    options = parser.parse_args()
    shorten_day()
    shutil.rmtree(WORK, ignore_errors=True)
    tiny.make(WORK / "world")
    counts, kinds = simulate(WORK / "world", options.nights)
    stores = sorted({*(n for n in COPIED if n < options.nights), options.nights})
    result = {
        "nights": options.nights,
        "stores": stores,
        "files": counts,
        "full_runs": kinds,
        "seconds": measure_stores(stores),
        "machine": describe(),
    }
    if options.nights == NIGHTS:
        publish(NAME, result, build_pages(result))
    else:
        print(json.dumps(result, indent=1))
        print(render_pages(build_pages(result)))
    return 0


def shorten_day() -> None:
    """Let replaced files be removed after a second."""
    from storage import garbage_collection
    from tasks.run import chunk_merge

    garbage_collection.GRACE_SECONDS = chunk_merge.GRACE_SECONDS = DAY  # type: ignore[misc]


def write_study(folder: Path) -> Path:
    """Write the study of the nights."""
    sketches = tiny.SKETCH | {"rescore": False}
    return tiny.write_study(folder, candidates=sketches, carry={})


def simulate(folder: Path, nights: int) -> tuple[dict[str, int], int]:
    """Audit night after night; return the number of files after some, and that of full runs."""
    study, draw, files, full = write_study(folder), random.Random(0), {}, 0
    for night in range(nights):
        if night:
            change_tables(folder, night, draw)
        full += not audit(study)
        if night + 1 in (*COPIED, nights) or (night + 1) % 73 == 0:
            files[str(night + 1)] = sum(path.is_file() for path in (folder / "store").rglob("*"))
            print(night + 1, files[str(night + 1)], file=sys.stderr, flush=True)
        if night + 1 in (*COPIED, nights):
            shutil.copytree(folder, WORK / f"{night + 1}")
    return files, full


def audit(study: Path) -> bool:
    """Audit a study; return whether the run continues an earlier one."""
    from tasks.audit.in_process import audit_in_process
    from tasks.run.spec import plan_run

    with contextlib.redirect_stderr(io.StringIO()):
        plan = plan_run(study)
        audit_in_process(plan)
    return plan.lineage is not None


def change_tables(folder: Path, night: int, draw: random.Random) -> None:
    """Change the tables and the model as a night of the simulation does."""
    replace_query(folder, f"query-n{night}", draw)
    if night % CHANGED_TRAIN == 0:
        train = tiny.rows_of(folder / "train.csv")
        del train[draw.randrange(5, len(train))]
        place = draw.randrange(5, len(train))
        other = next(label for label in tiny.LABELS if label != train[place]["label"])
        train[place] = train[place] | {"label": other}
        new = {"id": f"train-n{night}", "text": draw_text(draw)}
        tiny.write_rows(folder / "train.csv", [*train, train[5] | new])
    if night % CHANGED_MODEL == 0:
        replace_model(folder, night)


def replace_query(folder: Path, name: str, draw: random.Random) -> None:
    """Put a new query in place of one."""
    queries = tiny.rows_of(folder / "queries.csv")
    place = draw.randrange(5, len(queries))
    queries[place] = queries[place] | {"id": name, "text": draw_text(draw)}
    tiny.write_rows(folder / "queries.csv", queries)


def draw_text(draw: random.Random) -> str:
    """Draw a text of the tiny study's words."""
    return " ".join(draw.choice(tiny.WORDS) for _ in range(draw.randint(6, 10)))


def replace_model(folder: Path, seed: int) -> None:
    """Put the model of another seed in place of the present one."""
    other = tiny.make_other(folder, "next", seed)
    shutil.rmtree(folder / "model")
    other.rename(folder / "model")


def measure_stores(stores: list[int]) -> dict[str, dict[str, float]]:
    """Return the median CPU seconds of a night and of the commands, by number of nights."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for repeat in range(REPEATS):
        for nights in stores:
            folder = WORK / "copy"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(WORK / f"{nights}", folder)
            replace_query(folder, f"more-{repeat}", random.Random(repeat))
            study, times = folder / "study.toml", seconds.setdefault(str(nights), {})
            times.setdefault("night", []).append(measure(lambda: audit(study)))  # noqa: B023
            for name in COMMANDS:
                times.setdefault(name, []).append(measure(lambda: run_command(name, study)))  # noqa: B023
    return {
        nights: {name: statistics.median(each[1:]) for name, each in times.items()}
        for nights, times in seconds.items()
    }


def measure(action: Callable[[], object]) -> float:
    """Return the CPU seconds of an action in this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def run_command(name: str, study: Path) -> None:
    """Run a command in this process, without its output."""
    from typer.testing import CliRunner

    from flows.cli.app import app

    extra = {"gc": ["--dry-run"], "top": ["query-1"]}.get(name, [])
    outcome = CliRunner().invoke(app, [name, *extra, "--study", str(study)])
    if outcome.exit_code != 0:
        raise SystemExit(f"{name}: {outcome.output}")


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of this benchmark."""
    seconds, stores = result["seconds"], [str(n) for n in result["stores"]]
    first, last = seconds[stores[0]], seconds[stores[-1]]
    ratio = last["night"] / first["night"]
    a_night = result["files"][stores[-1]] / result["nights"]
    rows = [
        [name, *(f"{seconds[n][name]:.2f}" for n in stores), f"{last[name] / first[name]:.2f}"]
        for name in ("night", *COMMANDS)
    ]
    heads = ["CPU seconds", *(f"{n} nights" for n in stores), "last / first"]
    files = [[n, f"{count:,}", f"{count / int(n):.1f}"] for n, count in result["files"].items()]
    measured = bullets(
        "Command: `python -m benchmarks.nightly.year`; a night and the commands run in a process, "
        "on copies of the stores in turn, and the median of the repeats after the first is shown.",
        "Study: 60 training rows, 17 queries, a BERT of three layers; scores by sketches with "
        "`[carry]`. A night takes little time by itself here, so that of the store shows.",
        f"Of {result['nights']} nights {result['full_runs']} were full runs, with another model or "
        "with too few of the first training rows left.",
        "A day, after which replaced files are removed, was shortened to a second.",
        describe_machine(result),
    )
    return [
        ResultPage(
            NAME,
            "A year of nights in one store",
            "Does a night, or a command, take longer when a store has a year of runs?",
            f"A carried night after {stores[-1]} nights takes {ratio:.2f} times that after "
            f"{stores[0]} (goal {LIMITS['night']}: {format_goal(ratio <= LIMITS['night'])}), and "
            f"the store has {a_night:.1f} files a night (goal {LIMITS['files']}: "
            f"{format_goal(a_night <= LIMITS['files'])}).",
            f"{ratio:.2f} times at {stores[-1]} nights",
            [table(heads, rows), table(["after nights", "files", "files a night"], files)],
            measured,
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
