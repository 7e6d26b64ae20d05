"""Flow of a single query, with the LiSSA repeats distributed over workers."""

from pathlib import Path

from prefect import flow

from flows.executor_config import AnyExecutorConfig, ThreadsConfig
from flows.executors import start_executor
from flows.flow_run_names import make_flow_run_name
from flows.interrupted_run import crash_when_stopped
from flows.prefect_hooks import notify_failure
from tasks.audit.predict_queries import predict_queries
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.single_query import attribute_query, make_request, solve_repeat
from tasks.audit.tree_query import attribute_tree_query
from tasks.planning.open_run import settle_plan
from tasks.planning.start_run import start_run
from tasks.results.explained_query import ExplainedQuery
from tasks.run.spec import plan_run
from tasks.runtime.devices import resolve_devices
from tasks.runtime.foreign_errors import wrap_library_errors


@flow(
    name="urgent-query",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@crash_when_stopped
@wrap_library_errors
def urgent(
    study: str,
    query: str,
    repeats: int | None = None,
    k: int = 5,
    engine: AnyExecutorConfig = ThreadsConfig(),  # noqa: B008
) -> ExplainedQuery:
    """Explain one query now: the mean of several LiSSA repeats, each on its own worker.

    Of boosted trees it is one scan of the training rows by the method of the study.

    The damping and the curvature's factor are prepared as in an audit of the study, and stored for
    it.

    Args:
        study: Path of the study file, with the solver lissa.
        query: Id of the query.
        repeats: Number of repeats to average; the study's if omitted.
        k: Number of most harmful rows, and of most helpful rows.
        engine: Executor of the tasks.
    """
    plan = settle_plan(plan_run(Path(study), None))
    request = make_request(plan.inputs, query, repeats, k)
    context = start_run(plan)
    if context.study.has_trees:
        with start_executor(engine, resolve_devices(context.study.run.devices), 1) as executor:
            executor.call(predict_queries, ref=plan.ref)
            return executor.call(attribute_tree_query, request=request, ref=plan.ref)
    with start_executor(
        engine, resolve_devices(context.study.run.devices), request.repeats
    ) as executor:
        for prepare in (predict_queries, choose_damping, factor_curvature):
            executor.call(prepare, ref=plan.ref)
        futures = [
            executor.submit(solve_repeat, index=index, request=request, ref=plan.ref)
            for index in range(request.repeats)
        ]
        digests = [future.result() for future in futures]
        return executor.call(attribute_query, digests=digests, request=request, ref=plan.ref)
