"""Plan and context of a study."""

from pathlib import Path

from tasks.planning.open_run import load_run
from tasks.run.spec import plan_run


def plan_study(path: Path):
    plan = plan_run(path)
    return plan, load_run(plan)
