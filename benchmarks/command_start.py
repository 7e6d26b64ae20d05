"""Processor time of the commands that answer at once, as a ratio to importing Polars.

`python -m benchmarks.command_start STUDY` needs the study of a finished audit, by default that of
`make audit`. Processor seconds (user and system) are counted, since they hardly depend on other
work of the machine; each command is started in turn several times, and the least time counts.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.page import ResultPage, bullets, publish, table
from tasks.run.existing_store import open_existing_store
from tasks.run.lookup import find_latest_run
from tasks.study.study import load_study

STARTS = 5
REFERENCE = "python -c 'import polars'"


def main(study: Path) -> None:
    """Measure every command, and write the result and its page."""
    with tempfile.TemporaryDirectory() as folder:
        commands = list_commands(study, Path(folder))
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(STARTS):
            for name, command in commands.items():
                seconds[name].append(measure(command))
    result = {
        "machine": describe(),
        "starts": STARTS,
        "processor_seconds": {
            name: min(cpu for cpu, _ in times) for name, times in seconds.items()
        },
        "wall_seconds": {name: min(wall for _, wall in times) for name, times in seconds.items()},
    }
    publish("command-start", result, build_pages(result))


def list_commands(study: Path, folder: Path) -> dict[str, list[str]]:
    """The commands by name, the reference first."""
    store = open_existing_store(load_study(study))
    run = find_latest_run(store)
    query, train = (
        str(store.scan(name, run).select("id").first().collect().item())
        for name in ("queries", "train")
    )
    faulty = folder / "faulty.toml"
    faulty.write_text(study.read_text("utf-8").replace("[store]", "[sstore]"), "utf-8")
    words = {
        "fastif --help": ["--help"],
        "fastif --version": ["--version"],
        "fastif runs": ["runs", str(study)],
        "fastif top ID": ["top", "-s", str(study), "--", query],
        "fastif show ID": ["show", "-s", str(study), "--", train],
        "fastif audit missing.toml": ["audit", str(folder / "missing.toml")],
        "fastif audit faulty.toml": ["audit", str(faulty)],
    }
    commands = {name: [sys.executable, "-m", "flows.cli", *w] for name, w in words.items()}
    return {REFERENCE: [sys.executable, "-c", "import polars"]} | commands


def measure(command: list[str]) -> tuple[float, float]:
    """Processor seconds and seconds of a command.

    Raises:
        RuntimeError: The command failed, other than by refusing its study.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 2) or "Traceback" in done.stderr:
        raise RuntimeError(f"{command}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result."""
    seconds, wall = result["processor_seconds"], result["wall_seconds"]
    ratios = {name: value / seconds[REFERENCE] for name, value in seconds.items()}
    slowest = max(ratios, key=lambda name: ratios[name])
    rows = [
        (f"`{name}`", f"{seconds[name]:.2f}", f"{wall[name]:.2f}", f"{ratios[name]:.1f}")
        for name in seconds
    ]
    machine = result["machine"]
    page = ResultPage(
        name="command-start",
        title="Start of the commands",
        question="How long does a command take that only reads the store, or refuses a study?",
        answer=f"At most {ratios[slowest]:.1f} times the processor time of importing Polars "
        f"({slowest}: {seconds[slowest]:.2f} s of processor, {wall[slowest]:.2f} s in all).",
        headline=f"at most {ratios[slowest]:.1f} times importing Polars",
        tables=[table(("command", "processor s", "s", "ratio to Polars"), rows)],
        measured=bullets(
            f"`python -m benchmarks.command_start`, the least of {result['starts']} starts, the "
            "commands in turn",
            f"{machine['processor']}, {machine['cores']} cores, {machine['date']}",
            "files were in the page cache; the first start after an installation also compiles "
            "and reads them",
        ),
    )
    return [page]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "examples/nli/study.toml"))
