"""Flow runs that a signal ends: marked as crashed on the Prefect server, with an alert."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.states import Crashed

from flows.signals import call_when_stopped

P = ParamSpec("P")
R = TypeVar("R")


def crash_when_stopped(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate the function of a flow: a signal that ends the process first ends its flow run."""

    @wraps(function)
    def wrapped(*args: P.args, **keywords: P.kwargs) -> R:
        context = FlowRunContext.get()
        with ExitStack() as stack:
            if context is not None and context.flow is not None and context.flow_run is not None:
                flow, run = context.flow, context.flow_run
                for hook in flow.on_crashed_hooks:
                    stack.enter_context(call_when_stopped(partial(_call_hook, hook, flow, run)))
                stack.enter_context(call_when_stopped(partial(_mark_crashed, run)))
            return function(*args, **keywords)

    return wrapped


def _mark_crashed(run: FlowRun, reason: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(message=reason))


def _call_hook(hook: Callable[..., Any], flow: Flow, run: FlowRun, reason: str) -> None:
    hook(flow, run, Crashed(message=reason))
