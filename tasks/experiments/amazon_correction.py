"""Reviews of products: where anchors are like everything else, repairing has little to repair."""

from pathlib import Path

import polars as pl

from tasks.experiments.nli_data import REST
from tasks.experiments.repeated_corrections import (
    PAPER,
    STEPS,
    TRAINING,
    Way,
    repaired,
)
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place
from tasks.models.finetune import train_model

EVALUATED, ANCHORS, SEED = 2_000, 400, 0
POOL = {"small": 300, "full": 1000}
TABLES = {TRAINING: "the training rows", "new": "reviews never seen"}
ROWS = 50
WAYS = [Way(TRAINING, by, rows=ROWS) for by in ("helpful", "harmful", "random", "anchors")]
MORE = [Way("new", by, rows=ROWS) for by in ("helpful", "harmful", "random")]
"""At full scale."""

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


def reviews(place: Place) -> Outcome:
    """Ten steps on fifty rows each, towards fifty anchors each."""
    study = _written(place, place.sized(1_500, 3_500), place.sized(128, 512))
    train_model.fn(str(study))
    times = place.sized(3, 5)
    ways = WAYS if place.scale == "small" else [*WAYS, *MORE]
    found = repaired(place, study, ways, times, POOL[place.scale], TABLES, "suite test")
    helpful, harmful, random, anchors = (found.gains[way] for way in WAYS)
    mean = {name: 100 * sum(of) / len(of) for name, of in
            (("helpful", helpful), ("harmful", harmful), ("anchors", anchors))}  # fmt: skip
    worse = found.over(WAYS[1], WAYS[2])
    title = f"Accuracy on {EVALUATED:,} reviews, {found.before:.1%} before, mean of {times}"
    return Outcome(
        claims=[
            Claim("Steps on helpful rows have little effect on other reviews.", "little",
                  f"{mean['helpful']:+.1f} points", abs(mean["helpful"]) < 1),
            Claim("Nor have steps on the anchors themselves.", "little",
                  f"{mean['anchors']:+.1f} points", abs(mean["anchors"]) < 1),
            Claim("Steps on harmful rows make it worse.", "worse",
                  f"{mean['harmful']:+.1f} points; {worse[0]} against random rows",
                  mean["harmful"] < 0 and mean["harmful"] < mean["helpful"]),
        ],
        tables={title: found.rows()},
        plots={"reviews": found.drawn()},
        notes=[f"{STEPS} steps on {ROWS} rows towards {ROWS} anchors each, Adam at "
               f"{PAPER:g}. Without reviewers there is no shift between those of training and "
               "those of the test; so it is a test of the mechanism, not of that shift. With "
               f"{len(random)} repetitions differences below a point are chance."],
    )  # fmt: skip


def _written(place: Place, rows: int, roots: int) -> Path:
    """The study's file and tables; none of a table is in another."""
    folder = place.folder / "study"
    folder.mkdir(parents=True, exist_ok=True)
    seen, other = (_shuffled(place, f"amazon_reviews5/{name}") for name in ("train", "test"))
    tables = {
        "train": seen.head(rows),
        "new": seen.slice(rows),
        "queries": other.head(EVALUATED).with_columns(suite=pl.lit("test")),
        "anchors": other.slice(EVALUATED, ANCHORS),
    }
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "study.toml").write_text(STUDY + REST.format(roots=roots, epochs=3), "utf-8")
    return folder / "study.toml"


def _shuffled(place: Place, name: str) -> pl.DataFrame:
    frame = place.table(name).sample(fraction=1, shuffle=True, seed=SEED)
    text = pl.concat_str(pl.col("title"), pl.lit(". "), pl.col("text"), ignore_nulls=True)
    return frame.select("id", "label", text=text)
