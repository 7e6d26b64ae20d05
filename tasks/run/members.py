"""Models of a study: several trainings of one model, for an average of their scores."""

from dataclasses import replace
from pathlib import Path

import torch

from fastif import Examples, InputError, TextExamples
from tasks.run.context import Memo, RunContext
from tasks.run.spec import RunPlan
from tasks.study.study import Study

COMPARED_ROWS = 64
"""Number of rows whose inputs are compared if they are not tokens."""


def replace_study(context: RunContext, study: Study) -> RunContext:
    """Return the context with other settings for all models and an empty cache."""
    plan = context.plan
    return replace_plan(context, replace(plan, inputs=replace(plan.inputs, study=study)))


def replace_plan(context: RunContext, plan: RunPlan) -> RunContext:
    """Return the contexts under another plan, with its batch size and empty caches."""
    tables = {"train_examples": context.train_examples, "query_examples": context.query_examples}
    size = plan.inputs.study.run.batch_size
    resized = {name: texts.with_batch_size(size) for name, texts in tables.items()}
    first, *others = (
        replace(member, plan=plan, memo=Memo(), **resized) for member in context.members
    )
    return replace(first, others=tuple(others))


def find_different_row(first: Examples, other: Examples) -> int | None:
    """Return the first row whose tokens differ, None if none does; of other inputs, a sample."""
    if isinstance(first, TextExamples) and isinstance(other, TextExamples):
        rows = enumerate(zip(first.tokens, other.tokens, strict=True))
        return next((row for row, (left, right) in rows if not left.equal(right)), None)
    step = max(1, len(first) // COMPARED_ROWS)
    return next((row for row in range(0, len(first), step) if _differ(first, other, row)), None)


def _differ(first: Examples, other: Examples, row: int) -> bool:
    left, right = (table.take(torch.tensor([row])) for table in (first, other))
    return left.keys() != right.keys() or any(not left[k].equal(right[k]) for k in left)


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
    for name in ("train_examples", "query_examples"):
        row = find_different_row(getattr(first, name), getattr(other, name))
        if row is not None:
            raise InputError(
                where,
                "the tokenizer of the first model, or its other way to read rows",
                f"other inputs for row {row + 1} of the {name.removesuffix('_examples')} table",
                "Copy the tokenizer's files of the first model into this folder.",
            )
