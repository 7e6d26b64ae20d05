"""Flow of a flip set: the smallest set of training rows that is predicted to flip a query."""

from pathlib import Path

from prefect import flow

from flows.executor_config import AnyExecutorConfig, ThreadsConfig
from flows.executors import start_executor
from flows.flow_run_names import make_flow_run_name
from flows.interrupted_run import crash_when_stopped
from flows.prefect_hooks import notify_failure
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.flips.confirm_flip import confirm_flip
from tasks.flips.find_flip import find_flip
from tasks.flips.flip_answer import FlipAnswer
from tasks.flips.flip_request import make_flip_request, require_recipe
from tasks.planning.open_run import settle_plan
from tasks.planning.start_run import start_run
from tasks.run.spec import plan_run
from tasks.runtime.devices import resolve_devices
from tasks.runtime.foreign_errors import wrap_library_errors


@flow(
    name="flip-set",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@crash_when_stopped
@wrap_library_errors
def flip(
    study: str,
    query: str,
    relabel: bool = False,
    max_rows: int = 50,
    confirm: bool = False,
    engine: AnyExecutorConfig = ThreadsConfig(),  # noqa: B008
) -> FlipAnswer:
    """Search the flip set of one query, and confirm it by retraining if asked for.

    The damping and the curvature's factor are prepared as in an audit of the study, and stored for
    it.

    Args:
        study: Path of the study file.
        query: Id of the query.
        relabel: Whether training rows are relabelled, not removed.
        max_rows: Largest number of rows.
        confirm: Whether to train the model again with the set, and with random rows.
        engine: Executor of the tasks.
    """
    plan = settle_plan(plan_run(Path(study), None))
    request = make_flip_request(plan.inputs, query, relabel, max_rows, confirm)
    if confirm:
        require_recipe(plan)  # before anything is computed
    context = start_run(plan)
    with start_executor(engine, resolve_devices(context.study.run.devices), 1) as executor:
        for prepare in (choose_damping, factor_curvature):
            executor.call(prepare, ref=plan.ref)
        answer = executor.call(find_flip, request=request, ref=plan.ref)
        if confirm and answer.is_flip:
            answer = executor.call(confirm_flip, answer=answer, ref=plan.ref)
    return answer
