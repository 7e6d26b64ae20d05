"""Two runs of the product with a review between them, by its own command line."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.first_day.play import run_command
from benchmarks.review_loop.journal import Journal
from benchmarks.review_loop.reviewer import open_browser, review_page
from benchmarks.review_loop.study import CLEAN
from benchmarks.stopwatch import time_call
from storage import Store
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


class Loop:
    """Loop in a folder with a study: its commands, their times, and the reviewer's decisions.

    A loop that was interrupted continues with its first unfinished step.

    Args:
        folder: Folder of the study.
        right_labels: Right labels by id, which only the reviewer reads.
        verdicts: Number of decisions in all.
        rounds: Number of reviews, of equally many decisions each, with a search after each.
    """

    def __init__(
        self, folder: Path, right_labels: Mapping[str, str], verdicts: int, rounds: int
    ) -> None:
        self.folder, self.right_labels = folder.resolve(), right_labels
        self.verdicts, self.rounds = verdicts, rounds
        self.journal = Journal(self.folder / "journal.json")
        self.steps: list[dict[str, Any]] = []
        self.decisions: list[dict[str, str]] = []

    def run(self) -> dict[str, Any]:
        """Run the first audit, the review in rounds, and the second audit; return the evidence."""
        heads = [self._train_and_audit("before")]
        self._command("mislabels")
        orders = {"first search": self.journal.run("first order", self._read_order)}
        for number in range(1, self.rounds + 1):
            self._review(number)
        orders["last search"] = self.journal.run("last order", self._read_order)
        self._command(f"review apply --out {CLEAN}")
        self._change_table()
        heads.append(self._train_and_audit("after"))
        runs = self.journal.run("runs", self._list_runs)
        self._command(f"diff {runs[0]} {runs[1]}")
        self._command("report --out second.html")
        return {
            "steps": self.steps,
            "decisions": self.decisions,
            "orders": orders,
            "heads": heads,
            "queries": [self._read_correct(run) for run in runs],
        }

    def _train_and_audit(self, name: str) -> str:
        """Train, keep a copy of the weights, and audit; return the file of the weights."""
        kept = f"weights-{name}.safetensors"

        def copy_weights() -> None:
            weights = (self.folder / "model" / "model.safetensors").read_bytes()
            (self.folder / kept).write_bytes(weights)

        self._command("train")
        self.journal.run(kept, copy_weights)
        self._command("audit")
        return kept

    def _review(self, number: int) -> None:
        """Build the page, review some of its rows, import the decisions, and search again."""
        page, file = f"page-{number}.html", f"review-{number}.csv"
        share = -(-self.verdicts // self.rounds)
        count = min(share, self.verdicts - len(self.decisions))
        self._command(f"report --out {page}")
        review = partial(self._decide, self.folder / page, count, self.folder / file)
        decisions, seconds = self.journal.run(page, review)
        self.decisions += decisions
        command = f"{len(decisions)} decisions in the page, and its export"
        self.steps.append({"command": command, "seconds": seconds})
        self._command(f"review import {file}")
        self._command("mislabels")

    def _decide(self, page: Path, count: int, file: Path) -> tuple[list[dict[str, str]], float]:
        with open_browser() as browser:
            work = partial(review_page, browser, page, self.right_labels, count, file)
            decisions, seconds = time_call(work)
        return [asdict(decision) for decision in decisions], seconds

    def _command(self, command: str) -> None:
        number = len(self.steps)
        step = self.journal.run(f"{number} {command}", partial(self._run_command, command))
        self.steps.append(step)

    def _run_command(self, command: str) -> dict[str, Any]:
        step = run_command(self.folder, f"fastif {command}")
        print(f"{step.seconds:7.1f} s  fastif {command}", flush=True)
        if step.code:
            raise SystemExit(f"fastif {command} ended with exit code {step.code}:\n{step.output}")
        kept = ("command", "seconds", "processor", "peak_mb")
        return {name: value for name, value in asdict(step).items() if name in kept}

    def _change_table(self) -> None:
        study = self.folder / "study.toml"
        text = study.read_text("utf-8")
        study.write_text(text.replace('"train.parquet"', json.dumps(CLEAN)), "utf-8")

    def _read_order(self) -> list[str]:
        """Return the ids of the rows without a decision, in the order of the newest search."""
        result = read_latest_result(self._open_store())
        return result.table.filter(pl.col("reviewed").is_null()).sort("rank")["id"].to_list()

    def _list_runs(self) -> list[str]:
        """Return the names of the two runs, the earlier one first."""
        return [status.record.run for status in self._open_store().list_runs()][::-1]

    def _read_correct(self, run: str) -> dict[str, bool]:
        """Return whether the run's model predicts each query correctly, by id."""
        queries = self._open_store().scan("queries", run).select("id", "correct").collect()
        return dict(queries.iter_rows())

    def _open_store(self) -> Store:
        return open_existing_store(load_study(self.folder / "study.toml"))


def shorten(command: str) -> str:
    """Return a command with the names of runs left out.

    >>> shorten("fastif diff news-1a2b news-3c4d")
    'fastif diff BEFORE AFTER'
    """
    return "fastif diff BEFORE AFTER" if shlex.split(command)[1] == "diff" else command
