"""What a person should see after an audit, read from the store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fastif.evaluation.select_damping import DampingChoice
from fastif.evaluation.select_k import CandidateChoice
from storage import (
    Store,
    harmful_rows,
    in_slice,
    is_remote,
    most_harmful,
    most_helpful,
    quarantined,
    touched_by,
    with_examples,
    with_queries,
    worst_queries,
)
from tasks.models.label_order import OtherOrder, other_order
from tasks.models.provenance import provenance_evidence, told_provenance
from tasks.planning.actuals import Outcome, told_outcome
from tasks.results.diagnostics import (
    LEAKED,
    Row,
    alarms,
    evidence,
    nats,
    number_of,
    read_trust,
)
from tasks.results.missed_candidates import recall_alarms, recall_evidence
from tasks.results.slice_accuracy import worst_first
from tasks.run.k_selection import enough_alarms, enough_evidence, told_candidate_choice
from tasks.run.method_choice import MethodChoice
from tasks.run.method_selection import method_alarms, method_evidence, told_method
from tasks.run.selections import (
    choice_alarms,
    choice_evidence,
    left_out_alarms,
    told_choice,
    told_others,
)

WORST, EACH, SLICES = 5, 3, 8
WORST_COLUMNS = ("worst queries", "loss", "most harmful training row", "removal effect")
COLUMNS = ("id", "text", "text_pair", "label", "prediction")
TRAIN_COLUMNS = (*COLUMNS, "trained")


@dataclass(frozen=True)
class Explained:
    """A query with the training examples that harmed and helped it most."""

    query: Row
    harmful: list[Row]
    helpful: list[Row]


@dataclass(frozen=True)
class Summary:
    """One run, as far as a terminal has room for it.

    Attributes:
        quarantined: queries without scores, each with its reason.
        broken: ids of the training rows whose loss is not finite.
        order: an order of the labels that fits the model's outputs surely better.
        leaked: queries that are training rows, word for word.
    """

    run: str
    study: Path
    store: Path
    facts: Row
    slices: list[Row]
    trust: Row
    worst: list[Explained]
    offenders: list[Row]
    quarantined: list[Row]
    broken: list[str]
    order: OtherOrder | None = None
    leaked: int = 0

    @property
    def choice(self) -> DampingChoice | None:
        """How the damping was chosen; None if it was given."""
        return told_choice(str(self.facts["curvature"])) if self.facts else None

    @property
    def method(self) -> MethodChoice | None:
        """How the method of finding candidates was chosen; None if it was given."""
        return told_method(str(self.facts["candidates"])) if self.facts else None

    @property
    def enough(self) -> CandidateChoice | None:
        """How the number of candidates was chosen; None if it was given."""
        return told_candidate_choice(str(self.facts["candidates"])) if self.facts else None

    @property
    def recall(self) -> list[Row]:
        """What the candidates hold of a full scan of some queries; empty if not checked."""
        return json.loads(str(self.facts["recall"])) if self.facts.get("recall") else []

    @property
    def outcome(self) -> Outcome | None:
        """What the last process of the run was forecast to take, and took; None if unknown."""
        return told_outcome(self.facts.get("forecast"))

    @property
    def root(self) -> str | None:
        """The run whose curvature and recall this one goes on with; None if they are its own."""
        known = json.loads(str(self.facts["candidates"])).get("carried") if self.facts else None
        return known["root"] if known else None

    @property
    def evidence(self) -> list[tuple[str, str]]:
        """What the certificates say, name by name."""
        found = list(evidence(self.trust))
        if self.choice:
            others = told_others(str(self.facts["curvature"]))
            found.append(("damping chosen", choice_evidence(self.choice, others)))
        if self.method:
            found.extend(method_evidence(self.method))
        if self.enough:
            found.append(("candidates chosen", enough_evidence(self.enough)))
        if self.recall:
            since = f"; of {self.root}, not measured again" if self.root else ""
            found.append(("recall", recall_evidence(self.recall) + since))
        if self.facts:
            found.extend(carried_evidence(self.facts))
            known = self.facts.get("training"), self.facts["train_rows"]
            found.extend(provenance_evidence(*known))
        return found

    @property
    def alarms(self) -> list[str]:
        """What must not be overlooked."""
        doubts = choice_alarms(self.choice) if self.choice else ()
        fewer = left_out_alarms(str(self.facts["curvature"])) if self.facts else ()
        missed = recall_alarms(self.recall)
        few = enough_alarms(self.enough, self.recall) if self.enough else ()
        coarse = method_alarms(self.method, self.recall) if self.method else ()
        trust = alarms(self.trust, self.quarantined, self.broken)
        known = told_provenance(self.facts.get("training"))
        training = map(str, known[0]) if known else ()
        order = [str(self.order)] if self.order else []
        leaks = leak_alarms(self.leaked, self.facts)
        return [*order, *leaks, *trust, *training, *doubts, *fewer, *coarse, *few, *missed]


def read_summary(store: Store, run: str, study: Path) -> Summary:
    """Read the summary of a run: accuracy, trust, and its worst queries explained."""
    queries, solves = store.scan("queries", run), store.scan("solves", run)
    lost = store.scan("train", run).filter(pl.col("loss").is_null())
    facts = store.scan("runs", run).collect().to_dicts()
    worst = worst_queries(queries, WORST).select("query").collect()["query"]
    return Summary(
        run,
        study,
        store.layout.root,
        facts[0] if facts else {},
        _slices(queries.collect()),
        read_trust(solves),
        [explain(store, run, query, EACH) for query in worst],
        _offenders(store, run),
        quarantined(solves, queries).collect().to_dicts(),
        lost.select("id").collect()["id"].to_list(),
        _order(store.scan("train", run)),
        leaked_queries(queries, store.scan("train", run)),
    )


def leaked_queries(queries: pl.LazyFrame, train: pl.LazyFrame) -> int:
    """How many queries are training rows, word for word; 0 where a run holds no texts."""
    if "text" not in train.collect_schema().names():
        return 0
    content, rows = ["text", "text_pair"], train.select("text", "text_pair")
    found = queries.select(content).join(rows, on=content, how="semi", nulls_equal=True)
    return int(found.select(pl.len()).collect().item())


def leak_alarms(leaked: int, facts: Row) -> Iterator[str]:
    """A share of queries that is too large for their accuracy to be trusted."""
    if facts and leaked >= max(1.0, LEAKED * number_of(facts["query_rows"])):
        yield (
            f"{leaked:,} of {number_of(facts['query_rows']):,} queries are training rows, word for "
            "word: accuracy on these says nothing about new data, and they answer for themselves."
        )


def _order(train: pl.LazyFrame) -> OtherOrder | None:
    """Whether the model's answers to its training rows fit another order of the labels."""
    rows = train.select("label", "prediction").drop_nulls().collect()
    labels = sorted({*rows["label"].to_list(), *rows["prediction"].to_list()})
    place = {label: i for i, label in enumerate(labels)}
    given, predicted = ([place[label] for label in rows[name].to_list()] for name in rows.columns)
    return other_order(given, predicted, labels)


def _offenders(store: Store, run: str) -> list[Row]:
    """The training examples that harm the wrongly predicted queries most, summed over them."""
    wrong = in_slice(store.scan("scores", run), store.scan("queries", run), "correct", False)
    rows = with_examples(harmful_rows(wrong, EACH), store.scan("train", run), TRAIN_COLUMNS)
    return rows.collect().to_dicts()


def explain(store: Store, run: str, query: int, k: int) -> Explained:
    """The k most harmful and the k most helpful training examples of one query."""
    scores, train = store.scan("scores", run), store.scan("train", run)
    row = store.scan("queries", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    solve = store.scan("solves", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    ends = [
        with_examples(end(scores, query, k), train, TRAIN_COLUMNS).collect().to_dicts()
        for end in (most_harmful, most_helpful)
    ]
    return Explained(row | solve, *ends)


def trace(store: Store, run: str, train: int, k: int) -> tuple[Row, list[Row]]:
    """A training example and the k queries it moved most."""
    row = store.scan("train", run).filter(pl.col("train") == train).collect().to_dicts()[0]
    touched = touched_by(store.scan("scores", run), train)
    rows = with_queries(touched.head(k), store.scan("queries", run), COLUMNS)
    return row, rows.collect().to_dicts()


def _slices(queries: pl.DataFrame) -> list[Row]:
    """Accuracy by the first group column, if there is one; those that are surely low first."""
    groups = [name for name in queries.columns if name.startswith("group_")]
    if not groups:
        return []
    return worst_first(queries, groups[0]).head(SLICES).to_dicts()


def carried_evidence(facts: Row) -> Iterator[tuple[str, str]]:
    """What of a run is an earlier one's; nothing for a run that began from nothing."""
    known = json.loads(str(facts["candidates"])).get("carried")
    if known:
        kept = f"{known['queries']:,} of {facts['query_rows']:,} queries from {known['from']}"
        rows = f"{known['train']:,} of {facts['train_rows']:,} training rows"
        yield "carried over", f"{kept}, {rows}; curvature and recall of {known['root']}"


def count_of_cut(facts: Row) -> str:
    """How many texts were longer than the model reads."""
    return f"{facts['truncated_queries']} queries, {facts['truncated_train']} training rows"


def markdown(summary: Summary) -> str:
    """The summary as a Prefect artifact: numbers and ids, no example text."""
    facts = summary.facts
    expected = f"| expected | {summary.outcome} |"
    lines = [
        f"# Influence audit {summary.run}",
        "",
        "| | |",
        "| --- | --- |",
        f"| accuracy | {facts['accuracy']:.1%} of {facts['query_rows']} queries |",
        f"| training rows | {facts['train_rows']} |",
        f"| cut to max_length | {count_of_cut(facts)} |",
        *(f"| {name} | {found} |" for name, found in summary.evidence),
        *([expected] if summary.outcome else []),
        f"| results | `{summary.store}` |",
        f"| report | {_page(summary)} |",
        "",
        *(f"**{alarm}**\n" for alarm in summary.alarms),
        f"| {' | '.join(WORST_COLUMNS)} |",
        f"| {' | '.join('---' for _ in WORST_COLUMNS)} |",
    ]
    lines += [f"| {' | '.join(row.values())} |" for row in worst_rows(summary)]
    return "\n".join(lines) + "\n"


def _page(summary: Summary) -> str:
    """A link to the page about the run, or the command that builds it."""
    page = page_path(summary.store, summary.study.parent, summary.run)
    if page.is_file():
        return f"[{page.name}]({page.resolve().as_uri()})"
    return f"`fastif report {summary.run} --study {summary.study}`"


def page_path(root: Path, folder: Path, run: str) -> Path:
    """Where the page of a run is: beside a store in a folder, beside the study of any other.

    Args:
        root: of the store.
        folder: of the study.
        run: by name.
    """
    near = folder if is_remote(root) else Path(root).parent
    return near / "reports" / f"{run}.html"


def worst_rows(summary: Summary) -> list[dict[str, str]]:
    """The worst queries as a Prefect table: numbers, rounded, and ids, no example text."""
    rows = []
    for explained in summary.worst:
        harm = explained.harmful[0] if explained.harmful else None
        ends = (str(harm["train_id"]), f"{harm['removal_effect']:+.4f}") if harm else ("none", "")
        found = (str(explained.query["id"]), nats(explained.query["loss"]), *ends)
        rows.append(dict(zip(WORST_COLUMNS, found, strict=True)))
    return rows
