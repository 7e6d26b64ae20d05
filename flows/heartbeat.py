"""Automation that marks killed runs as crashed: `python -m flows.heartbeat`, once per server.

A killed process cannot report its end. Flow runs of deployments send a heartbeat every 30 s; a run
without one for 90 s that has not ended is marked as crashed.
"""

from datetime import timedelta

from prefect.automations import Automation, EventTrigger, Posture, ResourceSpecification
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

NAME = "fastif: killed runs are crashed"
MAX_SILENCE = timedelta(seconds=90)
HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
END_STATES = ("Completed", "Failed", "Cancelled", "Crashed")


def make_automation() -> Automation:
    """Make the automation: after each heartbeat of a flow run expect another one, or its end."""
    return Automation(  # type: ignore[call-arg]  # its other fields have defaults
        name=NAME,
        description="A run without a heartbeat for 90 s was killed.",
        trigger=EventTrigger(
            after={HEARTBEAT_EVENT},
            expect={HEARTBEAT_EVENT, *(f"prefect.flow-run.{state}" for state in END_STATES)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=MAX_SILENCE,
        ),
        actions=[  # type: ignore[arg-type]
            ChangeFlowRunState(  # type: ignore[call-arg]
                state=StateType.CRASHED,
                message="No heartbeat for 90 s. Run it again: it continues from there.",
            )
        ],
    )


def main() -> None:
    """Create the automation unless it exists."""
    try:
        Automation.read(name=NAME)  # pyright: ignore[reportUnusedCoroutine]
    except ValueError:
        make_automation().create()  # pyright: ignore[reportUnusedCoroutine]  # without an event loop it runs synchronously


if __name__ == "__main__":
    main()
