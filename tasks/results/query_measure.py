"""Measure of a query in words, with its unit and the meaning of both signs of an effect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from storage.example_schemas import fill_measure
from tasks.results.evidence import Row, parse_count


@dataclass(frozen=True)
class MeasureWords:
    """Words for the measure of a query.

    Attributes:
        name: Noun for the measure.
        unit: Unit of the measure, and of the effects on it.
        harmful: Change of the measure without a harmful row.
        helpful: Change of the measure without a helpful row.
    """

    name: str
    unit: str
    harmful: str
    helpful: str


MEASURE_WORDS: Final[Mapping[str, MeasureWords]] = MappingProxyType(
    {
        "loss": MeasureWords("loss", "nats", "the loss would fall", "the loss would rise"),
        "log-probability": MeasureWords(
            "log probability of the predicted label",
            "nats",
            "the predicted label would be more probable",
            "the predicted label would be less probable",
        ),
        "margin": MeasureWords(
            "margin of the predicted label",
            "logits",
            "the margin of the predicted label would grow",
            "the margin of the predicted label would shrink",
        ),
        "entropy": MeasureWords(
            "entropy of the prediction",
            "nats",
            "the prediction would be more certain",
            "the prediction would be less certain",
        ),
        "squared-error": MeasureWords(
            "squared error", "squared units", "the error would fall", "the error would rise"
        ),
        "huber-loss": MeasureWords(
            "Huber loss", "squared units", "the error would fall", "the error would rise"
        ),
    }
)
"""Words for each measure, by its name in the table `queries`."""


def get_words(query: Row) -> MeasureWords:
    """Return the words for the measure of a row of the table `queries`."""
    return find_words(str(query.get("measure") or "loss"))


def find_words(measure: str) -> MeasureWords:
    """Return the words for a measure; that of a later version has no unit here.

    Examples:
        >>> find_words("margin").unit
        'logits'
    """
    other = MeasureWords(measure, "its unit", "the measure would improve", "it would get worse")
    return MEASURE_WORDS.get(measure, other)


def join_units(rows: Iterable[Row]) -> str:
    """Join the units of effects on queries, given by `query_measure`; nats without any.

    Examples:
        >>> join_units([{"query_measure": "margin"}, {"query_measure": "margin"}]), join_units([])
        ('logits', 'nats')
    """
    units = dict.fromkeys(find_words(str(row["query_measure"])).unit for row in rows)
    return " or ".join(units) or "nats"


def format_measure(query: Row) -> str:
    """Format the measure of a row of the table `queries`, with its unit.

    Examples:
        >>> format_measure({"measure": "margin", "measure_value": 1.25, "loss": None})
        'margin of the predicted label 1.25 logits'
        >>> format_measure({"loss": 0.5})
        'loss 0.50 nats'
    """
    words = get_words(query)
    value = query.get("measure_value") if query.get("measure") else query["loss"]
    number = "not finite" if value is None else f"{float(str(value)):.2f}"
    return f"{words.name} {number} {words.unit}"


def format_prediction(query: Row) -> tuple[str, str]:
    """Return the head of a query: its label or its prediction, and what follows.

    Examples:
        >>> format_prediction({"label": "pos", "prediction": "neg", "correct": False})
        ('pos', ' but predicted neg')
        >>> format_prediction({"label": None, "prediction": "neg", "correct": None})
        ('neg', ' predicted, without a label')
        >>> format_prediction({"label": "2.5", "prediction": "3.1", "correct": None})
        ('2.5', ', predicted 3.1')
    """
    prediction = f"{query['prediction'] or 'nothing'}"
    if query["label"] is None:
        return prediction, " predicted, without a label"
    if query["correct"] is None:
        return f"{query['label']}", f", predicted {prediction}"
    follows = ", predicted correctly" if query["correct"] else f" but predicted {prediction}"
    return f"{query['label']}", follows


def format_accuracy(facts: Row, labelled: int | None) -> str:
    """Format the accuracy of a run with the number of queries that it is of.

    Args:
        facts: Row of the table `runs`.
        labelled: Number of queries with labels; None for all.

    Examples:
        >>> format_accuracy({"accuracy": 0.5, "query_rows": 20}, 20)
        '50.0% of 20 queries'
        >>> format_accuracy({"accuracy": 0.5, "query_rows": 20}, 4)
        '50.0% of the 4 queries with labels (20 in all)'
        >>> format_accuracy({"accuracy": None, "query_rows": 20}, 0)
        'unknown: none of the 20 queries has a label'
        >>> format_accuracy({"accuracy": None, "query_rows": 20}, None)
        'not defined: the targets of the 20 queries are numbers'
    """
    count = parse_count(facts["query_rows"])
    if facts["accuracy"] is None and labelled != 0:
        return f"not defined: the targets of the {count} queries are numbers"
    if facts["accuracy"] is None:
        return f"unknown: none of the {count} queries has a label"
    share = f"{float(str(facts['accuracy'])):.1%}"
    if labelled is None or labelled == count:
        return f"{share} of {count} queries"
    return f"{share} of the {labelled} queries with labels ({count} in all)"


def describe_errors(queries: pl.DataFrame) -> str:
    """Describe the errors of queries whose targets are numbers, as a sentence.

    Args:
        queries: Table `queries` of the run.

    Examples:
        >>> columns = {"label": ["1.0", "2.0"], "measure": ["squared-error"] * 2}
        >>> describe_errors(pl.DataFrame({**columns, "loss": [4.0, 0.0]}))
        'The mean squared error of 2 queries is 2, its root 1.41.'
    """
    name = find_words(str(queries["measure"][0])).name
    loss = float(str(queries["loss"].mean() or 0.0))
    root = f", its root {loss**0.5:.3g}" if name == "squared error" else ""
    return f"The mean {name} of {queries['label'].count():,} queries is {loss:.3g}{root}."


def describe_measures(queries: pl.LazyFrame) -> str:
    """Describe what a run explains, with the number of queries if there are two measures.

    Args:
        queries: Table `queries` of the run.

    Examples:
        >>> describe_measures(pl.LazyFrame({"loss": [0.1, 0.2]}))
        'loss, effects in nats'
        >>> names = ["loss", "log-probability", "loss"]
        >>> describe_measures(pl.LazyFrame({"measure": names}))
        'loss (2 queries), log probability of the predicted label (1 query), effects in nats'
    """
    counts = fill_measure(queries).group_by("measure").agg(pl.len()).collect()
    rows = counts.sort("len", "measure", descending=[True, False]).rows()
    words = [find_words(name) for name, _ in rows]
    names = [each.name for each in words]
    if len(rows) > 1:
        names = [
            f"{name} ({count:,} {'query' if count == 1 else 'queries'})"
            for name, (_, count) in zip(names, rows, strict=True)
        ]
    units = " and ".join(dict.fromkeys(each.unit for each in words))
    return f"{', '.join(names)}, effects in {units}"


def count_labelled(queries: pl.LazyFrame) -> int | None:
    """Count the queries with labels; None if all have one.

    Args:
        queries: Table `queries` of a run.
    """
    count, total = queries.select(pl.col("label").count(), rows=pl.len()).collect().row(0)
    return None if count == total else int(count)


def name_harmed_queries(has_accuracy: bool) -> str:
    """Name the queries over which the harm of training rows is summed in a summary.

    Args:
        has_accuracy: Whether predictions are right or wrong: queries have labels, and no numbers.

    Examples:
        >>> name_harmed_queries(True), name_harmed_queries(False)
        ('wrongly predicted queries', 'queries')
    """
    return "wrongly predicted queries" if has_accuracy else "queries"
