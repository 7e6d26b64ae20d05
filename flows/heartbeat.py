"""The automation that marks killed runs crashed: `python -m flows.heartbeat`, once a server.

A process that is killed cannot say so. Flow runs of deployments show a sign of life every 30 s; one
that shows none for 90 s, and has not ended, is taken for dead.
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
    """For each flow run: after a sign of life another one, or an end."""
    return Automation(  # type: ignore[call-arg]  # its other fields have defaults
        name=NAME,
        description="A run that shows no sign of life for 90 s was killed.",
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
                message="It showed no sign of life for 90 s. Run it again: it goes on from there.",
            )
        ],
    )


def main() -> None:
    """Put it in place, unless it is."""
    try:
        Automation.read(name=NAME)  # pyright: ignore[reportUnusedCoroutine]
    except ValueError:
        make_automation().create()  # pyright: ignore[reportUnusedCoroutine]  # no loop: done at once


if __name__ == "__main__":
    main()
