"""One seed after the other: make the study, run it, compare."""

import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from tests.fuzz.case import Case, draw
from tests.fuzz.check import Finding, check
from tests.fuzz.command import HANGS, Ended, Worker, run_alone
from tests.fuzz.stored import Stored, read_stored, run_names
from tests.fuzz.study import model_names, second_run_case, write_models, write_study
from tests.fuzz.tables import Row, Rows, expand_by_label, first_tables, next_tables, write_tables
from tests.fuzz.truth import Truth, UndefinedError


@dataclass(frozen=True)
class Result:
    """How a seed ended: the worse of its runs."""

    seed: int
    state: str
    error: float
    night: int
    words: str
    title: str
    seconds: float

    def __str__(self) -> str:
        night = f" night {self.night}" if self.night > 1 else ""
        words = f": {self.words}" if self.words else ""
        return f"[{self.state}]{night} {self.seed} {self.error:.1e} {self.title}{words}"

    def record(self) -> dict:
        """As JSON."""
        return asdict(self)


ORDER = ("exact", "bounded", "reported", "WRONG")
_worker: Worker | None = None


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Run the seeds in several processes, each with its own worker."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin) as pool:
        for future in as_completed([pool.submit(_in_pool, seed) for seed in seeds]):
            yield future.result()


def _begin() -> None:
    global _worker
    torch.set_num_threads(1)
    disable_progress_bar()
    set_verbosity_error()
    _worker = Worker()


def _in_pool(seed: int) -> Result:
    return run_seed(seed, _worker)


def run_seed(seed: int, worker: Worker | None = None) -> Result:
    """Run the study of a seed in an empty folder; without a worker, in a separate process."""
    start, case = time.monotonic(), draw(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{seed}-"))
    finding, night = Finding("WRONG", 0.0, "not begun"), 1
    try:
        finding, night = _nights(case, folder, None if case.subprocess else worker)
    except Exception:
        finding = Finding("WRONG", 0.0, f"harness: {traceback.format_exc()[-600:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - start, 1)
    return Result(seed, finding.state, finding.error, night, finding.words, case.title, seconds)


def _nights(case: Case, folder: Path, worker: Worker | None) -> tuple[Finding, int]:
    tables = first_tables(case)
    write_models(case, folder)
    first = _night(case, folder, worker, tables, None)
    if case.night is None or first.state in ("reported", "WRONG"):
        return first, 1
    before, tables = tables, next_tables(case, case.night, tables)
    if case.night.model:
        write_models(case, folder, night=1)
    finding = _night(second_run_case(case), folder, worker, tables, before)
    worse = ORDER.index(finding.state) >= ORDER.index(first.state)
    return (finding, 2) if worse else (first, 1)


def _night(
    case: Case,
    folder: Path,
    worker: Worker | None,
    tables: dict[str, Rows],
    before: dict[str, Rows] | None,
) -> Finding:
    write_tables(case, tables, folder)
    write_study(case, folder)
    known = run_names(folder / "store")
    run = run_alone if worker is None else worker.run
    ended = run(["audit", "study.toml"], folder)
    if ended.code or ended.traceback:
        return _refused(ended)
    runs = run_names(folder / "store") - known
    if not runs:  # nothing changed overnight
        same = before is not None and before == tables
        return (
            Finding("exact", 0.0) if same else Finding("WRONG", 0.0, "no run of the present tables")
        )
    actual = read_stored(folder / "store", runs.pop())
    curved = tables["train"]
    if before is not None and actual.carried and case.by_sketches:
        curved = before["train"]
    if actual.carried and not _may_carry(case, tables, before):
        return Finding("WRONG", 0.0, "reuses a run that has too few rows in common")
    tables = {**tables, "queries": expand_by_label(case, tables["queries"])}
    try:
        truth = _truth(case, folder, actual, tables, curved)
    except UndefinedError as error:
        return Finding("WRONG", 0.0, f"answers where the model itself has none: {error}")
    return check(case, truth, actual, tables, ended.out + ended.err)


def _truth(
    case: Case, folder: Path, actual: Stored, tables: dict[str, Rows], curved: Rows
) -> Truth:
    folders = [folder / name for name in model_names(case)]
    parameters = actual.runs["parameters"][0] if not actual.runs.is_empty() else None
    return Truth(case, folders, curved, tables["train"], tables["queries"], parameters)


def _may_carry(case: Case, tables: dict[str, Rows], before: dict[str, Rows] | None) -> bool:
    """By the rules of `[carry]`: the same model and settings, and enough of the same rows."""
    night = case.night
    if night is None or before is None or night.carry is None or night.model or night.damping:
        return False
    old, new = (sorted(_content(row) for row in rows["train"]) for rows in (before, tables))
    if before["train"] == tables["train"]:
        return True
    common = len(old) + len(new) - _union(old, new)
    return case.by_sketches and common / _union(old, new) >= night.carry


def _content(row: Row) -> tuple:
    return tuple(row[key] for key in ("a", "b", "label", "weight") if key in row)


def _union(old: list, new: list) -> int:
    return (Counter(old) | Counter(new)).total()


def _refused(ended: Ended) -> Finding:
    """A refusal in words is an answer; a traceback, a hang or a death by signal is none."""
    fails = ended.traceback or ended.code == HANGS or ended.code < 0
    if fails or "Refused." not in ended.err + ended.out:
        return Finding("WRONG", 0.0, f"ends with {ended.code}: {ended.words}")
    return Finding("reported", 0.0, f"refused: {ended.words}")
