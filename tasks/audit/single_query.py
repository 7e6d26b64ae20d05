"""Single-query mode: the T repeats of a LiSSA solve, run in parallel and averaged.

Parallel mode of FastIF (Guo et al., 2021). It shortens the time of one query; for many queries,
splitting by shard is more efficient. Repeats are stored as artifacts, so that a second request for
a query, or a lost worker, costs only the missing ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from prefect import task
from prefect.cache_policies import NO_CACHE
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from fastif import InputError
from fastif.curvature import DampedOperator
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers import Factor, Solution, Solver
from fastif.solvers.build import build_solver
from fastif.solvers.solver import RepeatedSolver
from storage import StoreError, compute_fingerprint
from tasks.audit.example_frames import make_prediction_columns
from tasks.audit.frames import make_scores_frame
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.query_targets import list_measures
from tasks.planning.further_devices import LeasedDevices
from tasks.planning.open_run import lease_run
from tasks.results.evidence import Row
from tasks.results.explained_query import ExplainedQuery
from tasks.run.artifact_keys import factor_digest, measure_inputs
from tasks.run.artifacts import read_factor
from tasks.run.assemble import get_provenance, make_member_attributor
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator
from tasks.run.hidden_states import get_query_examples
from tasks.run.spec import RunRef
from tasks.run.tree_run import refuse_repeats
from tasks.runtime.retries import retry_if_transient
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.spelling import normalize_nfc
from tasks.study.study import Study, check_has_audit

KIND, FILE = "repeats", "repeat.safetensors"


@dataclass(frozen=True)
class QueryRequest:
    """Request for the scores of one query.

    Attributes:
        query: Position in the query table.
        repeats: Number T of independent LiSSA repeats.
        k: Number of most harmful and of most helpful training rows.
    """

    query: int
    repeats: int
    k: int

    @property
    def ids(self) -> Tensor:
        """Position of the query as a tensor, [1]."""
        return torch.tensor([self.query])


def make_request(inputs: Inputs, name: str, repeats: int | None, k: int) -> QueryRequest:
    """Return the request for the query with this id.

    Args:
        inputs: Study and tables.
        name: Id of the query.
        repeats: Number of repeats; that of the solver if None.
        k: Number of most harmful and of most helpful training rows.

    Raises:
        StudyError: The study is for labels only.
        InputError: The query does not exist, or the study's solver is not LiSSA.
    """
    check_has_audit(inputs.study)
    if inputs.study.has_trees:
        repeats = refuse_repeats(repeats)
    else:
        repeats = repeats or require_repeated_solver(inputs.study).repeats
    name = normalize_nfc(name)
    if name not in inputs.queries.ids:
        raise InputError(
            "query",
            f"an id of {inputs.queries.place}",
            name,
            f"An example is {inputs.queries.ids[0]}.",
        )
    return QueryRequest(inputs.queries.ids.index(name), repeats, k)


def require_repeated_solver(study: Study) -> RepeatedSolver:
    """Return the study's solver if it has repeats.

    Raises:
        InputError: The solver has no repeats.
    """
    solver = build_solver(study.solver).repeated_solver
    if solver is not None:
        return solver
    raise InputError(
        "[solver] kind",
        '"lissa", which has repeats that run in parallel',
        f'"{study.solver.kind}"',
        'Run `fastif audit` with this query alone, or set kind = "lissa".',
    )


@task(
    name="solve-repeat",
    task_run_name="repeat-{index}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_condition_fn=retry_if_transient,
)
def solve_repeat(index: int, request: QueryRequest, ref: RunRef) -> str:
    """Solve one repeat, store it, and return its cache key."""
    with lease_run(ref) as context:
        digest = _compute_repeat_digest(context, request, index)
        if context.store.find_artifact(KIND, digest) is None:
            gradients = fastif.Gradients(context.objective)
            rhs = compute_measure_gradients(gradients, get_query_examples(context), request.ids)
            factor = read_factor(context.store, factor_digest(context))
            solver = require_repeated_solver(context.study)
            solution = solver.run_repeat(make_operator(context), rhs, index, factor)
            tensors = {
                "value": solution.value.cpu().contiguous(),
                "residual": solution.residual.cpu(),
                "converged": solution.converged.cpu(),
                "steps": torch.tensor(solution.steps),
            }
            context.store.write_artifact(
                KIND, digest, lambda folder: save_file(tensors, folder / FILE)
            )
        return digest


@task(name="answer-urgent", cache_policy=NO_CACHE, persist_result=False)
def attribute_query(digests: Sequence[str], request: QueryRequest, ref: RunRef) -> ExplainedQuery:
    """Average the repeats and score every training row with the mean solution."""
    with lease_run(ref) as context:
        device = context.objective.like.device
        solutions = tuple(_read_repeat(context, digest, device) for digest in digests)
        solver = AveragedSolver(require_repeated_solver(context.study), solutions)
        attributor = replace(
            make_member_attributor(context, fastif.ExhaustiveSearch(request.k)),
            solver=solver,
            factor={},
        )
        ensemble = fastif.Ensemble(
            [attributor], row_scale=context.row_scale, by_cosine=context.ranks_by_cosine
        )
        attribution = ensemble(
            get_query_examples(context), request.ids, further=LeasedDevices(context)
        )
        outputs, losses = fastif.predict(
            context.objective, get_query_examples(context), ids=request.ids
        )
        rows = context.plan.inputs.queries.take([request.query])
        columns = make_prediction_columns(
            context.study, rows, outputs, context.query_examples, request.ids
        )
        predicted = {name: columns[name][0] for name in ("prediction", "loss", "correct")}  # type: ignore[index]
        return make_explanation(context, request, attribution, predicted, float(losses[0]))


@dataclass(frozen=True, eq=False)
class AveragedSolver(Solver):
    """Solver that averages repeats solved earlier.

    Attributes:
        solver: Solver of the repeats.
        solutions: Solutions of all repeats.
    """

    solver: RepeatedSolver
    solutions: tuple[Solution, ...]

    def solve(
        self,
        operator: DampedOperator,
        rhs: Float[Tensor, "q p"],
        factor: Factor | None = None,
    ) -> Solution:
        return self.solver.merge_runs(operator, rhs, self.solutions)


def _read_repeat(context: RunContext, digest: str, device: torch.device | str) -> Solution:
    folder = context.store.find_artifact(KIND, digest)
    if folder is None:
        raise StoreError(
            f"repeat {digest[:12]}",
            expected="the repeat that was solved just now",
            got="none",
            remedy="It was removed from the store meanwhile; run the command again.",
        )
    tensors = load_file(folder / FILE, device=str(device))
    return Solution(
        tensors["value"],
        tensors["residual"],
        tensors["converged"],
        int(tensors["steps"]),
        context.damping,
    )


def _compute_repeat_digest(context: RunContext, request: QueryRequest, index: int) -> str:
    """Return the cache key of a repeat, independent of the number of repeats."""
    settings = vars(require_repeated_solver(context.study))
    solver = {name: value for name, value in settings.items() if name != "repeats"}
    query = context.plan.inputs.queries.take([request.query])
    return compute_fingerprint(
        {
            "mathematics": INFLUENCE_VERSION,
            "factor": factor_digest(context),
            "damping": context.damping,
            "query": query.digest,
            "solver": solver,
            "repeat": index,
            **measure_inputs(context),
        }
    )


def make_explanation(
    context: RunContext,
    request: QueryRequest,
    attribution: fastif.Attribution,
    predicted: Mapping[str, object],
    value: float,
) -> ExplainedQuery:
    """Return the explanation of a query from its scores and its prediction."""
    inputs, labels = context.plan.inputs, context.study.labels
    row = _make_example_row(inputs.queries, request.query, labels)
    measure = list_measures(context.study, inputs.queries)[request.query]
    query = row | {
        **predicted,
        "measure": measure.name,
        "measure_value": measure.factor * value,
        "reason": attribution.certificate.reasons[0],
        "residual": float(attribution.certificate.residual[0]),
        "spread": None
        if attribution.certificate.spread is None
        else float(attribution.certificate.spread[0]),
    }
    rows: list[dict[str, Any]] = [
        score
        | {
            f"train_{name}": value
            for name, value in _make_example_row(inputs.train, score["train"], labels).items()
        }
        | {"train_trained": _is_trained_on(context, score["train"])}
        for score in make_scores_frame(request.ids, attribution.influences).to_dicts()
    ]
    harmful = [train_row for train_row in rows if _get_ranking(train_row) < 0][: request.k]
    helpful = [train_row for train_row in reversed(rows) if _get_ranking(train_row) > 0]
    return ExplainedQuery(query, harmful, helpful[: request.k])


def _get_ranking(row: dict[str, Any]) -> float:
    """Return the number that ranks a row: see `storage.ranking`."""
    score = row["ranking_score"]
    return float(row["removal_effect"] if score is None else score)


def _is_trained_on(context: RunContext, train: int) -> bool | None:
    """Return whether the model was trained on a row with its label; None if unknown."""
    provenance = get_provenance(context)
    return (
        None
        if provenance is None or provenance.trained is None
        else bool(provenance.trained[train])
    )


def _make_example_row(table: Table, position: int, labels: Sequence[str]) -> Row:
    pair = None if table.text_pairs is None else table.text_pairs[position]
    (label,) = table.take([position]).name_targets(labels)
    return {
        "id": table.ids[position],
        "text": table.texts[position],
        "text_pair": pair,
        "label": label,
    }
