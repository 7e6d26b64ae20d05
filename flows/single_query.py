"""Flow: one urgent query, its repeats split over the workers of an engine."""

from pathlib import Path

from prefect import flow

from flows.executor_config import AnyEngine, Threads
from flows.executors import started
from flows.flow_run_names import named_for_the_night
from flows.prefect_hooks import tell_of_failure
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.single_query import answer_urgent, asked_of, solve_repeat
from tasks.planning.start_run import begin
from tasks.results.summary import Explained
from tasks.run.spec import plan_run
from tasks.runtime.devices import devices_of
from tasks.runtime.foreign_errors import refusing


@flow(
    name="urgent-query",
    flow_run_name=named_for_the_night,
    persist_result=False,
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_failure],
)
@refusing
def urgent(
    study: str,
    query: str,
    repeats: int | None = None,
    k: int = 5,
    engine: AnyEngine = Threads(),  # noqa: B008
) -> Explained:
    """Explain one query now: each repeat of its LiSSA solve on a worker of its own, averaged.

    What the solve needs (the damping, the curvature's factor) is what an audit of the study would
    prepare, and is kept for it.

    Args:
        study: path of the study file; its solver is lissa.
        query: id of the query.
        repeats: how many are averaged; the study's if left out.
        k: training rows at each end.
        engine: where tasks run.
    """
    plan = plan_run(Path(study), None)
    asked = asked_of(plan.inputs, query, repeats, k)
    job, _ = begin(plan)
    with started(engine, devices_of(job.study.run.devices), asked.repeats) as workers:
        for prepare in (choose_damping, factor_curvature):
            workers.call(prepare, ref=plan.ref)
        waiting = [
            workers.submit(solve_repeat, index=index, asked=asked, ref=plan.ref)
            for index in range(asked.repeats)
        ]
        digests = [future.result() for future in waiting]
        return workers.call(answer_urgent, digests=digests, asked=asked, ref=plan.ref)
