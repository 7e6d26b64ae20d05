"""Models of a study: several trainings of one model, for an average of their scores."""

from dataclasses import replace
from pathlib import Path

from fastif import InputError
from tasks.run.context import Memo, RunContext
from tasks.run.spec import RunPlan
from tasks.study.study import Study


def replace_study(context: RunContext, study: Study) -> RunContext:
    """Return the context with other settings for all models and an empty cache."""
    plan = context.plan
    return replace_plan(context, replace(plan, inputs=replace(plan.inputs, study=study)))


def replace_plan(context: RunContext, plan: RunPlan) -> RunContext:
    """Return the contexts under another plan, with its batch size and empty caches."""
    tables = {"train_texts": context.train_texts, "query_texts": context.query_texts}
    size = plan.inputs.study.run.batch_size
    resized = {name: texts.with_batch_size(size) for name, texts in tables.items()}
    first, *others = (
        replace(member, plan=plan, memo=Memo(), **resized) for member in context.members
    )
    return replace(first, others=tuple(others))


def check_compatible(first: RunContext, other: RunContext, folder: Path) -> None:
    """Check that a further model has the tokens and parameters of the first.

    Raises:
        InputError: They differ; the message gives the first difference.
    """
    where = f"models: {folder}"
    first_space, other_space = first.objective.space, other.objective.space
    if (first_space.names, first_space.shapes) != (other_space.names, other_space.shapes):
        raise InputError(
            where,
            f"the attributed parameters of the first model, {len(first_space.names)} tensors of "
            f"{first_space.size:,} numbers",
            f"{len(other_space.names)} tensors of {other_space.size:,} numbers, or other names",
            "Use checkpoints or seeds of one training; another architecture needs another study.",
        )
    for name in ("train_texts", "query_texts"):
        rows = zip(getattr(first, name).tokens, getattr(other, name).tokens, strict=True)
        for row, (left, right) in enumerate(rows, start=1):
            if not left.equal(right):
                raise InputError(
                    where,
                    "the tokenizer of the first model",
                    f"other tokens for row {row} of the {name.removesuffix('_texts')} table",
                    "Copy the tokenizer's files of the first model into this folder.",
                )
