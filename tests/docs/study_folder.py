"""The folder in which the documentation's Python blocks run."""

import json
import shutil
from pathlib import Path

import polars as pl
import tiny

from tasks.mislabels.detect import detect_mislabels
from tasks.planning.actuals import ForecastVsActual

NLI_LABELS = {"neg": "entailment", "pos": "non-entailment"}
SUITES = {"plain": "hans", "[bold]odd[/bold]": "mnli"}

OUTCOME = ForecastVsActual({"predictions": (1.0, 2.0)}, memory=(2**30, 2**30), disk=(10, 10))


def make_study_folder(made: Path, folder: Path) -> Path:
    """Return a folder with what the pages name: `model`, `out/store` and the example of NLI.

    Args:
        made: the tiny study, which is only read.
        folder: an empty folder.
    """
    tiny.copy(made, folder / "own")
    (folder / "own" / "model").rename(folder / "model")
    _audit_own_study(folder)
    _audit_example(made, folder / "examples" / "nli")
    return folder


def _audit_own_study(folder: Path) -> None:
    """A study of the name `my-study` with a full scan, a chosen damping and a search for labels."""
    study = tiny.write_study(
        folder / "own",
        top={"name": "my-study"},
        model={"path": "../model"},
        curvature={"damping": "auto"},
        candidates={"kind": "full", "keep": 5},
        store={"path": "../out/store"},
        training={"base": "base", "trainable": "last:1", "epochs": 1, "batch_size": 16},
    )
    tiny.run_directly(study)
    detect_mislabels.fn(str(study))


def _audit_example(made: Path, folder: Path) -> None:
    """The example's tables, model and store in small: two runs and a search for labels."""
    tiny.copy(made, folder)
    (folder / "data").mkdir()
    for name in ("train", "queries"):
        table = pl.read_csv(folder / f"{name}.csv").rename({"text": "premise"})
        table = table.rename({"second": "hypothesis"}).with_columns(
            pl.col("label").replace_strict(NLI_LABELS), suite=pl.col("kind").replace_strict(SUITES)
        )
        table.write_parquet(folder / "data" / f"{name}.parquet")
    model = folder / "out" / "model"
    shutil.move(folder / "model", model)
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["id2label"] = dict(enumerate(NLI_LABELS.values()))
    config["label2id"] = {label: unit for unit, label in enumerate(NLI_LABELS.values())}
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    source = {"text": ["premise", "hypothesis"]}
    study = tiny.write_study(
        folder,
        top={"name": "nli", "labels": list(NLI_LABELS.values())},
        model={"path": "out/model", "max_length": 20},
        train={"table": "data/train.parquet"} | source,
        queries={"table": "data/queries.parquet", "groups": ["suite"]} | source,
        store={"path": "out/store"},
    )
    tiny.run_directly(study)
    queries = pl.read_parquet(folder / "data" / "queries.parquet")
    queries.head(-1).write_parquet(folder / "data" / "queries.parquet")
    tiny.run_directly(study, outcome=OUTCOME)
    detect_mislabels.fn(str(study))
