"""A study of one's own module against retraining on halves: passengers of the Titanic.

`python -m benchmarks.own_module.agreement` measures (a few minutes) and writes
benchmarks/results/own-module.json with its page. Model and rows are loaded as a study loads them,
from `[model] factory`, and one of the methods is the audit of the study itself. The package has to
be installed (`pip install -e .`), since code that is not installed is never run.
"""

from dataclasses import asdict
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

import fastif
from benchmarks.fidelity.titanic import read_passengers
from benchmarks.machine import describe
from benchmarks.own_module.passengers import CATEGORIES, NUMBERS, WIDTHS, make_network
from benchmarks.own_module.report import AUDIT, NAME, build_pages
from benchmarks.page import publish
from benchmarks.retraining import Plan, measure_halves
from tasks.data.inputs import read_tables
from tasks.models.own_model import load_own_model
from tasks.study.study import load_study

WORK = Path("benchmarks/.work/own-module")
TRAIN, QUERIES = 500, 100
FEATURES = (*NUMBERS, *CATEGORIES)
LABELS = ("died", "survived")
DAMPINGS = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
RECIPE = fastif.TrainingConfig(epochs=15, learning_rate=5e-3, weight_decay=0.0, batch_size=32)
STUDY = f"""name = "passengers"
labels = ["{'", "'.join(LABELS)}"]

[model]
factory = "benchmarks.own_module.passengers:load"
path = "weights"

[train]
table = "train.parquet"
features = ["{'", "'.join(FEATURES)}"]
label = "survived"
id = "id"

[queries]
table = "queries.parquet"
features = ["{'", "'.join(FEATURES)}"]
label = "survived"
id = "id"

[parameters]
attributed = "all"

[curvature]
kind = "gauss-newton"

[solver]
kind = "dual"

[candidates]
kind = "full"
keep = {TRAIN}

[store]
path = "store"
"""


def main() -> None:
    """Measure, and write the result and its page."""
    torch.set_num_threads(1)
    study = write_study(WORK)
    inputs = read_tables(load_study(study))
    model = load_own_model(inputs, WORK / "weights", None, torch.device("cpu"))
    tables = model.encode_tables(inputs)
    plan = Plan(
        RECIPE,
        halves=30,
        choice_halves=10,
        seeds=2,
        dampings=DAMPINGS,
        rivals={AUDIT: audit_study},
        has_rule=True,
    )
    entry = measure_halves(model.objective, tables.train, tables.queries, plan)
    print(entry, flush=True)
    result = {
        "models": {f"MLP {'-'.join(map(str, WIDTHS))}, all": entry},
        "recipe": asdict(RECIPE),
        "facts": {"train": TRAIN, "queries": QUERIES},
        "machine": describe(),
    }
    publish(NAME, result, build_pages(result))


def write_study(folder: Path) -> Path:
    """Write the study with its tables and the untrained module, and return its file."""
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    names = pl.col("survived").cast(pl.Int64).replace_strict({0: LABELS[0], 1: LABELS[1]})
    passengers = read_passengers().with_columns(names).sample(fraction=1.0, seed=0, shuffle=True)
    passengers[:TRAIN].write_parquet(folder / "train.parquet")
    passengers[TRAIN : TRAIN + QUERIES].write_parquet(folder / "queries.parquet")
    torch.manual_seed(0)
    write_weights(folder, make_network().state_dict())
    (folder / "study.toml").write_text(STUDY, "utf-8")
    return folder / "study.toml"


def write_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write the weights that the function of the study reads."""
    save_file(tensors, folder / "weights" / "weights.safetensors")


def audit_study(objective: fastif.Objective, queries: Tensor, train: Tensor) -> Tensor:
    """Return the effects of all rows by an audit of the study with the trained weights."""
    write_weights(WORK, dict(objective.params))
    result = fastif.audit(str(WORK / "study.toml"))
    scores = result.store.scan("scores", result.run).collect()
    effects = torch.zeros(len(queries), len(train), dtype=torch.float64)
    places = scores["query"].to_torch().long(), scores["train"].to_torch().long()
    return effects.index_put(places, scores["removal_effect"].to_torch().double())


if __name__ == "__main__":
    main()
