"""Two nights of an incident: the model of each is trained and audited, as fastif does."""

from pathlib import Path

import polars as pl

from benchmarks.bisect.embedded_rows import EmbeddedRows
from benchmarks.bisect.incidents import Incident
from storage import Store
from tasks.audit.in_process import audit_in_process
from tasks.models.finetune import train_model
from tasks.run.spec import plan_run

EPOCHS, RATE, DAMPING = 5, 3e-3, 0.01
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
devices = ["cpu"]
[store]
path = "store"
[training]
base = "{base}"
trainable = ['pooler\\.', 'classifier\\.']
epochs = {epochs}
learning_rate = {rate}
seed = {seed}
checkpoints = []
record = false
"""


def run_nights(rows: EmbeddedRows, incident: Incident, folder: Path) -> tuple[Store, str, str]:
    """Train and audit the earlier and the later night; return the store and both runs."""
    folder.mkdir(parents=True, exist_ok=True)
    incident.queries.write_parquet(folder / "queries.parquet")
    names = []
    for table, seed in zip((incident.before, incident.after), incident.seeds, strict=True):
        study = write_study(rows, folder, table, seed)
        train_model.fn(str(study))
        store, run = audit_in_process(plan_run(study))
        names.append(run)
    return store, names[0], names[1]


def write_study(rows: EmbeddedRows, folder: Path, table: pl.DataFrame, seed: int) -> Path:
    """Write the training table and the study file of one night."""
    table.write_parquet(folder / "train.parquet")
    study = folder / "study.toml"
    text = STUDY.format(
        labels=", ".join(f'"{label}"' for label in rows.labels),
        base=rows.base.resolve(),
        seed=seed,
        epochs=EPOCHS,
        rate=RATE,
        damping=DAMPING,
    )
    study.write_text(text, "utf-8")
    return study
