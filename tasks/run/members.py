"""The models of a study: trainings of the same thing, so that their answers may be averaged."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastif import InputError

if TYPE_CHECKING:  # a job is put together here
    from tasks.run.context import RunContext
    from tasks.run.spec import RunPlan
    from tasks.study.study import Study


def replace_study(job: "RunContext", study: "Study") -> "RunContext":
    """The job and those of its further models with some settings replaced; the run is the same."""
    plan = job.plan
    return replace_plan(job, replace(plan, inputs=replace(plan.inputs, study=study)))


def replace_plan(job: "RunContext", plan: "RunPlan") -> "RunContext":
    """The job and those of its further models under another plan, with batches of its size."""
    tables = {"train_texts": job.train_texts, "query_texts": job.query_texts}
    size = plan.inputs.study.run.batch_size
    resized = {name: texts.with_batch_size(size) for name, texts in tables.items()}
    others = tuple(replace(other, plan=plan, **resized) for other in job.others)
    return replace(job, plan=plan, others=others, **resized)


def check_compatible(first: "RunContext", other: "RunContext", folder: Path) -> None:
    """Refuse a model that reads other tokens or has other parameters than the first.

    Raises:
        InputError: naming the first difference.
    """
    where = f"models: {folder}"
    first_space, other_space = first.objective.space, other.objective.space
    if (first_space.names, first_space.shapes) != (other_space.names, other_space.shapes):
        raise InputError(
            where,
            f"the attributed parameters of the first model, {len(first_space.names)} tensors of "
            f"{first_space.size:,} numbers",
            f"{len(other_space.names)} tensors of {other_space.size:,} numbers, or other names",
            "Take checkpoints or seeds of one training; another architecture is another study.",
        )
    for name in ("train_texts", "query_texts"):
        rows = zip(getattr(first, name).tokens, getattr(other, name).tokens, strict=True)
        for row, (left, right) in enumerate(rows, start=1):
            if not left.equal(right):
                raise InputError(
                    where,
                    "the tokenizer of the first model",
                    f"other tokens for row {row} of the {name.removesuffix('_texts')} table",
                    "Put the tokenizer's files of the first model into this folder too.",
                )
