"""What a run left in the store, read as any reader of Parquet would."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Stored:
    """The tables of one run, and its record."""

    run: str
    scores: pl.DataFrame
    solves: pl.DataFrame
    queries: pl.DataFrame
    train: pl.DataFrame
    totals: pl.DataFrame
    runs: pl.DataFrame
    record: dict

    @property
    def carried(self) -> bool:
        """Whether the run is incremental."""
        return bool(self.record.get("parts", {}).get("carried"))


def run_names(store: Path) -> set[str]:
    """Names of all runs."""
    return {path.name for path in (store / "runs").glob("*")}


def read_stored(store: Path, run: str) -> Stored:
    """The run's tables."""
    tables = {name: _table(store, name, run) for name in Stored.__annotations__ if name not in KEYS}
    return Stored(run, **tables, record=json.loads((store / "runs" / run / "run.json").read_text()))


KEYS = ("run", "record")


def _table(store: Path, name: str, run: str) -> pl.DataFrame:
    files = sorted((store / "tables" / name / f"run={run}").rglob("*.parquet"))
    if not files:
        return pl.DataFrame()
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])
