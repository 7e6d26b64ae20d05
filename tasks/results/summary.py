"""Summary of a finished audit, read from the store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_estimator import EstimatorSelection
from fastif.evaluation.select_k import KSelection
from storage import (
    Store,
    filter_slice,
    find_quarantined,
    find_worst_queries,
    join_examples,
    rank_harmful_rows,
)
from tasks.models.label_order import LabelReordering
from tasks.models.provenance import describe_provenance, parse_provenance
from tasks.planning.actuals import ForecastVsActual, parse_forecast_vs_actual
from tasks.results.choices import (
    describe_damping_choice,
    describe_k_selection,
    describe_precision,
    warn_damping_choice,
    warn_excluded_models,
    warn_k_selection,
    warn_low_agreement,
    warn_method_selection,
)
from tasks.results.diagnostics import (
    describe_diagnostics,
    read_diagnostics,
    warn_diagnostics,
)
from tasks.results.estimator import (
    TriedEstimator,
    describe_estimator,
    list_tried_estimators,
    warn_estimator_choice,
)
from tasks.results.evidence import Row
from tasks.results.explained_query import TRAIN_COLUMNS, ExplainedQuery, explain_query
from tasks.results.leaks import count_leaked_queries, warn_leaks
from tasks.results.missed_candidates import describe_recall, warn_low_recall
from tasks.results.query_measure import (
    count_labelled,
    describe_errors,
    describe_measures,
    format_accuracy,
)
from tasks.results.run_target import read_target
from tasks.results.slice_accuracy import rank_first_group
from tasks.results.span_text import find_scheme_of_run, name_spans
from tasks.results.stored_label_order import find_other_order
from tasks.results.tree_evidence import describe_trees
from tasks.run.agreement import AgreementRecord
from tasks.run.budget_selection import BudgetSelection
from tasks.run.method_choice import MethodSelection, describe_method_selection
from tasks.run.rows_selection import RowsSelection
from tasks.run.selections import AGREEMENT, BUDGET, DAMPING, ESTIMATOR, METHOD, ROWS, K
from tasks.study.target_kind import NUMBER

WORST, EACH, SLICES = 5, 3, 8


@dataclass(frozen=True)
class Summary:
    """Summary of one run, of the size of a terminal page.

    Attributes:
        quarantined: Queries without scores, each with its reason.
        nonfinite_ids: Ids of the training rows with a loss that is not finite.
        other_order: Order of the labels that fits the model's outputs significantly better; None
            if there is none.
        leaked_queries: Number of queries that are training rows, verbatim.
        labelled_queries: Number of queries with labels; None for all.
        measures: Measures of the queries in words, with their unit.
        errors: Sentence on the errors of queries whose targets are numbers; empty for others.
    """

    run: str
    study: Path
    store: Path
    facts: Row
    slices: list[Row]
    diagnostics: Row
    worst: list[ExplainedQuery]
    most_harmful: list[Row]
    quarantined: list[Row]
    nonfinite_ids: list[str]
    other_order: LabelReordering | None = None
    leaked_queries: int = 0
    labelled_queries: int | None = None
    measures: str = ""
    errors: str = ""

    @property
    def has_accuracy(self) -> bool:
        """Whether predictions are right or wrong: queries have labels, and no numbers."""
        return self.facts.get("accuracy") is not None

    @property
    def accuracy(self) -> str:
        """Accuracy in words, with the number of queries."""
        if self.errors and not self.has_accuracy:
            return self.errors
        return format_accuracy(self.facts, self.labelled_queries)

    @property
    def damping_choice(self) -> DampingSelection | None:
        """Record of the choice of the damping; None if it was given."""
        return DAMPING.parse_column(str(self.facts["curvature"])) if self.facts else None

    @property
    def is_retrainable(self) -> bool:
        """Whether `[training]` could describe how the model was trained: not for own modules."""
        return json.loads(str(self.facts["curvature"])).get("retrainable", True)

    @property
    def estimator_choice(self) -> EstimatorSelection | None:
        """Record of the choice of the estimator; None if retraining did not select it."""
        return ESTIMATOR.parse_column(str(self.facts["curvature"])) if self.facts else None

    @property
    def tried_estimators(self) -> list[TriedEstimator]:
        """Estimators that retraining compared, the best agreement first; empty without any."""
        choice = self.estimator_choice
        return list_tried_estimators(choice, self.model_names) if choice else []

    @property
    def model_names(self) -> list[str]:
        """Paths of the models among which the estimator was selected, the final weights first."""
        return json.loads(str(self.facts["curvature"])).get("models", []) if self.facts else []

    @property
    def method_selection(self) -> MethodSelection | None:
        """Record of the choice of the candidate method; None if it was given."""
        return METHOD.parse_column(str(self.facts["candidates"])) if self.facts else None

    @property
    def rows_selection(self) -> RowsSelection | None:
        """Record of the selected curvature rows; None if they were given, or all are cheap."""
        return ROWS.parse_column(str(self.facts["curvature"])) if self.facts else None

    @property
    def budget_selection(self) -> BudgetSelection | None:
        """Record of the settings selected for a budget; None without one."""
        return BUDGET.parse_column(str(self.facts["curvature"])) if self.facts else None

    @property
    def agreement(self) -> AgreementRecord | None:
        """Agreement of the sampled curvature with that of all rows; None for all rows."""
        return AGREEMENT.parse_column(str(self.facts["curvature"])) if self.facts else None

    @property
    def k_selection(self) -> KSelection | None:
        """Record of the choice of the number of candidates; None if it was given."""
        return K.parse_column(str(self.facts["candidates"])) if self.facts else None

    @property
    def recall(self) -> list[Row]:
        """Recall of the candidates against a full scan of some queries; empty if not measured."""
        return json.loads(str(self.facts["recall"])) if self.facts.get("recall") else []

    @property
    def outcome(self) -> ForecastVsActual | None:
        """Forecast and actual cost of the run's last process; None if unknown."""
        return parse_forecast_vs_actual(self.facts.get("forecast"))

    @property
    def root_run(self) -> str | None:
        """Root run that curvature and recall are reused from; None if they are the run's own."""
        reuse = json.loads(str(self.facts["candidates"])).get("carried") if self.facts else None
        return reuse["root"] if reuse else None

    @property
    def evidence(self) -> list[tuple[str, str]]:
        """Diagnostics of the run as pairs of label and text."""
        lines = [*describe_diagnostics(self.diagnostics), *describe_precision(self.facts)]
        if self.damping_choice:
            records = json.loads(str(self.facts["curvature"])).get("chosen_for_others", [])
            others = [DAMPING.parse(record) for record in records]
            lines.append(("damping chosen", describe_damping_choice(self.damping_choice, others)))
        if self.estimator_choice:
            text = describe_estimator(self.estimator_choice, self.model_names)
            lines.append(("estimator chosen", text))
        if self.rows_selection:
            lines.append(("curvature rows", f"{self.rows_selection}"))
        if self.budget_selection:
            lines.extend(self.budget_selection.describe())
        if self.agreement:
            lines.append(("agreement", f"{self.agreement}"))
        if self.method_selection:
            lines.extend(describe_method_selection(self.method_selection))
        if self.k_selection:
            lines.append(("candidates chosen", describe_k_selection(self.k_selection)))
        if self.recall:
            root = self.root_run
            since = f"; measured in {root}, not measured again" if root else ""
            lines.append(("recall", describe_recall(self.recall) + since))
        if self.facts:
            lines.extend([*describe_trees(self.facts), *describe_reuse(self.facts)])
            provenance = self.facts.get("training"), self.facts["train_rows"]
            lines.extend(describe_provenance(*provenance))
        return lines

    @property
    def warnings(self) -> list[str]:
        """Warnings, the most serious first."""
        damping_warnings = (
            warn_damping_choice(self.damping_choice, self.is_retrainable)
            if self.damping_choice
            else ()
        )
        left_out_warnings = warn_excluded_models(str(self.facts["curvature"])) if self.facts else ()
        recall_warnings = warn_low_recall(self.recall)
        k_selection_warnings = (
            warn_k_selection(self.k_selection, self.recall) if self.k_selection else ()
        )
        method_warnings = (
            warn_method_selection(self.method_selection, self.recall)
            if self.method_selection
            else ()
        )
        diagnostic_warnings = warn_diagnostics(
            self.diagnostics, self.quarantined, self.nonfinite_ids
        )
        provenance = parse_provenance(self.facts.get("training"))
        training_warnings = map(str, provenance[0]) if provenance else ()
        order_warnings = [str(self.other_order)] if self.other_order else []
        leak_warnings = warn_leaks(self.leaked_queries, self.facts)
        return [
            *order_warnings,
            *leak_warnings,
            *diagnostic_warnings,
            *training_warnings,
            *damping_warnings,
            *warn_estimator_choice(self.estimator_choice, self.model_names),
            *left_out_warnings,
            *(warn_low_agreement(self.agreement) if self.agreement else ()),
            *method_warnings,
            *k_selection_warnings,
            *recall_warnings,
        ]


def read_summary(store: Store, run: str, study: Path) -> Summary:
    """Read the summary of a run: accuracy, diagnostics, and the worst queries explained."""
    queries, solves = store.scan("queries", run), store.scan("solves", run)
    nonfinite = store.scan("train", run).filter(pl.col("loss").is_null())
    facts = store.scan("runs", run).collect().to_dicts()
    worst = find_worst_queries(queries, WORST).select("query").collect()["query"]
    return Summary(
        run,
        study,
        store.layout.root,
        facts[0] if facts else {},
        rank_first_group(queries.collect(), SLICES),
        read_diagnostics(solves),
        [explain_query(store, run, query, EACH) for query in worst],
        _read_most_harmful(store, run),
        find_quarantined(solves, queries).collect().to_dicts(),
        nonfinite.select("id").collect()["id"].to_list(),
        find_other_order(store, run),
        count_leaked_queries(queries, store.scan("train", run)),
        count_labelled(queries),
        describe_measures(queries),
        describe_errors(queries.collect()) if read_target(store.read_record(run)) == NUMBER else "",
    )


def _read_most_harmful(store: Store, run: str) -> list[Row]:
    """Training examples with the largest harm, summed over the wrongly predicted queries.

    It is summed over all queries if none of them has a label, or the targets are numbers.
    """
    scores, queries = store.scan("scores", run), store.scan("queries", run)
    if queries.select(pl.col("correct").count()).collect().item():
        scores = filter_slice(scores, queries, "correct", False)
    rows = join_examples(rank_harmful_rows(scores, EACH), store.scan("train", run), TRAIN_COLUMNS)
    scheme = find_scheme_of_run(store.read_record(run))
    return name_spans(rows.collect(), scheme, "train_").to_dicts()


def describe_reuse(facts: Row) -> Iterator[tuple[str, str]]:
    """Yield what an incremental run reused from its parent run; nothing for a full run."""
    reuse = json.loads(str(facts["candidates"])).get("carried")
    if reuse:
        reused_queries = (
            f"{reuse['queries']:,} of {facts['query_rows']:,} queries from {reuse['from']}"
        )
        reused_rows = f"{reuse['train']:,} of {facts['train_rows']:,} training rows"
        yield (
            "reused",
            f"{reused_queries}, {reused_rows}; curvature and recall of {reuse['root']}",
        )
