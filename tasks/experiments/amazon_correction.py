"""Error correction on product reviews (Guo et al., 2021), without a distribution shift."""

from pathlib import Path

import polars as pl

from tasks.experiments.nli_data import SHARED_STUDY
from tasks.experiments.repeated_corrections import (
    PAPER_RATE,
    STEPS,
    TRAIN_SOURCE,
    Strategy,
    repeat_corrections,
)
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace
from tasks.models.finetune import train_model

EVALUATED, ANCHORS, SEED = 2_000, 400, 0
POOL = {"small": 300, "full": 1000}
TABLES = {TRAIN_SOURCE: "the training rows", "new": "unseen reviews"}
ROWS_PER_STEP = 50
STRATEGIES = [
    Strategy(TRAIN_SOURCE, by, rows=ROWS_PER_STEP)
    for by in ("helpful", "harmful", "random", "anchors")
]
FULL_SCALE_STRATEGIES = [
    Strategy("new", by, rows=ROWS_PER_STEP) for by in ("helpful", "harmful", "random")
]
"""Further strategies at full scale."""

STUDY = """name = "reviews"
labels = ["very negative", "negative", "neutral", "positive", "very positive"]

[model]
path = "model"
max_length = 96

[train]
table = "train.parquet"
text = "text"
label = "label"
id = "id"

[queries]
table = "queries.parquet"
text = "text"
label = "label"
id = "id"
groups = ["suite"]

"""


def reproduce_amazon_correction(workspace: Workspace) -> ExperimentResult:
    """Run ten steps on fifty rows each, selected for fifty rows of the failure set each."""
    study = _write_study(
        workspace, workspace.select_size(1_500, 3_500), workspace.select_size(128, 512)
    )
    train_model.fn(str(study))
    repeats = workspace.select_size(3, 5)
    strategies = STRATEGIES if workspace.scale == "small" else [*STRATEGIES, *FULL_SCALE_STRATEGIES]
    corrections = repeat_corrections(
        workspace, study, strategies, repeats, POOL[workspace.scale], TABLES, "suite test"
    )
    helpful, harmful, random, anchors = (corrections.gains[strategy] for strategy in STRATEGIES)
    mean = {
        name: 100 * sum(gains) / len(gains)
        for name, gains in (("helpful", helpful), ("harmful", harmful), ("anchors", anchors))
    }
    difference = corrections.compare(STRATEGIES[1], STRATEGIES[2])
    title = f"Accuracy on {EVALUATED:,} reviews, {corrections.before:.1%} before, mean of {repeats}"
    return ExperimentResult(
        claims=_make_claims(mean, difference),
        tables={title: corrections.make_rows()},
        plots={"reviews": corrections.plot()},
        notes=[
            f"{STEPS} steps on {ROWS_PER_STEP} rows each, selected for {ROWS_PER_STEP} rows of the "
            f"failure set, with Adam at a learning rate of {PAPER_RATE:g}.",
            "Without reviewer ids there is no shift between training and test reviewers. This "
            "tests the mechanism, not the shift.",
            f"With {len(random)} repetitions differences below one point are not significant.",
        ],
    )


def _make_claims(mean: dict[str, float], difference: tuple[str, float]) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "Steps on helpful rows have little effect on other reviews.",
            "little",
            f"{mean['helpful']:+.1f} points",
            abs(mean["helpful"]) < 1,
        ),
        Claim(
            "Steps on the failure set have little effect on other reviews.",
            "little",
            f"{mean['anchors']:+.1f} points",
            abs(mean["anchors"]) < 1,
        ),
        Claim(
            "Steps on harmful rows lower the accuracy.",
            "worse",
            f"{mean['harmful']:+.1f} points; {difference[0]} against random rows",
            mean["harmful"] < 0 and mean["harmful"] < mean["helpful"],
        ),
    ]


def _write_study(workspace: Workspace, rows: int, curvature_rows: int) -> Path:
    """Write the study file and its tables, which share no rows; return the path of the file."""
    folder = workspace.folder / "study"
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (
        _read_shuffled(workspace, f"amazon_reviews5/{name}") for name in ("train", "test")
    )
    tables = {
        "train": train.head(rows),
        "new": train.slice(rows),
        "queries": test.head(EVALUATED).with_columns(suite=pl.lit("test")),
        "anchors": test.slice(EVALUATED, ANCHORS),
    }
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "study.toml").write_text(
        STUDY + SHARED_STUDY.format(roots=curvature_rows, epochs=3), "utf-8"
    )
    return folder / "study.toml"


def _read_shuffled(workspace: Workspace, name: str) -> pl.DataFrame:
    frame = workspace.read_table(name).sample(fraction=1, shuffle=True, seed=SEED)
    text = pl.concat_str(pl.col("title"), pl.lit(". "), pl.col("text"), ignore_nulls=True)
    return frame.select("id", "label", text=text)
