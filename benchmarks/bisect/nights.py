"""Two nights of an incident: the model of each is trained and audited, as fastif does."""

import shutil
from pathlib import Path

import polars as pl

from benchmarks.bisect.embedded_rows import WIDTH, EmbeddedRows
from benchmarks.bisect.incidents import Incident
from storage import Store
from tasks.audit.in_process import audit_in_process
from tasks.models.finetune import train_model
from tasks.run.spec import plan_run

EPOCHS, BATCH, RATE, DECAY, DAMPING = 15, 128, 1e-2, 0.1, 1e-3
DONE = "earlier-run.txt"
"""File with the name of the earlier run, written last."""
STUDY = """name = "night"
labels = [{labels}]
[model]
path = "model"
max_length = 8
[train]
table = "train.parquet"
text = "text"
label = "label"
id = "id"
groups = ["batch"]
[queries]
table = "queries.parquet"
text = "text"
label = "label"
id = "id"
groups = ["desk"]
[parameters]
attributed = ['pooler\\.', 'classifier\\.']
[loss]
weight_decay = {decay}
weight_decay_kind = "coupled"
[curvature]
damping = {damping}
rows = "all"
[solver]
kind = "dual"
[candidates]
kind = "full"
keep = 5
totals = true
[certificate]
rows = 0
[run]
shard_size = 400
batch_size = 256
devices = ["cpu"]
[store]
path = "store"
[training]
base = "{base}"
trainable = ['pooler\\.', 'classifier\\.']
epochs = {epochs}
batch_size = {batch}
learning_rate = {rate}
seed = {seed}
checkpoints = []
record = false
"""


def run_nights(rows: EmbeddedRows, incident: Incident, work: Path) -> tuple[Path, Store, str, str]:
    """Train and audit both nights; return the study, its store, and the names of both runs.

    The earlier night is that of all incidents with one seed, and is kept for them.
    """
    earlier = work / f"earlier-{rows.name}-{incident.seeds[0]}"
    if not (earlier / DONE).is_file():
        shutil.rmtree(earlier, ignore_errors=True)
        earlier.mkdir(parents=True)
        incident.queries.write_parquet(earlier / "queries.parquet")
        _, run = _run_night(rows, earlier, incident.before, incident.seeds[0])
        (earlier / DONE).write_text(run, "utf-8")
    folder = work / "night"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(earlier, folder)
    store, after = _run_night(rows, folder, incident.after, incident.seeds[1])
    return folder / "study.toml", store, (earlier / DONE).read_text("utf-8"), after


def _run_night(
    rows: EmbeddedRows, folder: Path, table: pl.DataFrame, seed: int
) -> tuple[Store, str]:
    study = write_study(rows, folder, table, seed)
    train_model.fn(str(study))
    return audit_in_process(plan_run(study))


def write_study(rows: EmbeddedRows, folder: Path, table: pl.DataFrame, seed: int) -> Path:
    """Write the training table and the study file of one night."""
    table.write_parquet(folder / "train.parquet")
    study = folder / "study.toml"
    text = STUDY.format(
        labels=", ".join(f'"{label}"' for label in rows.labels),
        base=rows.base.resolve(),
        seed=seed,
        epochs=EPOCHS,
        batch=BATCH,
        rate=RATE,
        decay=DECAY,
        damping=DAMPING,
    )
    study.write_text(text, "utf-8")
    return study


def describe_recipe() -> str:
    """Return one sentence on the model and its training."""
    return (
        f"Model: one hidden layer and a head on {WIDTH} principal components of the embeddings of "
        f"a sentence encoder; Adam, {EPOCHS} epochs, batches of {BATCH}, learning rate {RATE:g}, "
        f"L2 penalty {DECAY:g}; effects by the exact solver of all rows, damping {DAMPING:g}."
    )
