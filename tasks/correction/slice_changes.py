"""Accuracy and loss before and after a correction, by slice, and whether it is an improvement."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import fastif
from fastif.models.parameters import Params
from fastif.numerics.t_interval import mean_t_interval
from tasks.data.dataset import Table
from tasks.run.context import RunContext

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SliceChange:
    """Accuracy and loss of a slice before and after a correction.

    Attributes:
        name: Name of the slice.
        rows: Number of examples.
        before: Accuracy before.
        after: Accuracy after.
        loss: Change of the mean loss, nats; negative is an improvement.
        low: Lower bound of the 95 % t interval of `loss` over examples.
        high: Upper bound of the 95 % t interval of `loss` over examples.
    """

    name: str
    rows: int
    before: float
    after: float
    loss: float
    low: float
    high: float


def compute_slice_changes(
    context: RunContext,
    anchors: Table,
    examples: fastif.TextExamples,
    held_out: Tensor,
    params: Params,
) -> list[SliceChange]:
    """Return changes on the held-out failures, on all queries, and on queries by group."""
    slices = [
        _make_slice_change(
            "anchors held out", *_predict_before_after(context, examples, held_out, params)
        )
    ]
    queries = context.plan.inputs.queries
    all_queries = _predict_before_after(
        context, context.query_examples, fastif.all_ids(context.query_examples), params
    )
    slices.append(_make_slice_change("all queries", *all_queries))
    for column, values in queries.groups.items():
        for value in sorted({v for v in values if v is not None}):
            members = torch.tensor([v == value for v in values])
            slices.append(
                _make_slice_change(
                    f"{column} {value}",
                    *(values_before_after[:, members] for values_before_after in all_queries),
                )
            )
    return slices


def _predict_before_after(
    context: RunContext, examples: fastif.Examples, ids: Tensor, params: Params
) -> tuple[Tensor, Tensor]:
    """Whether each example is classified correctly, and its loss, before and after, [2, m] each."""
    right, losses = [], []
    trained = context.objective.params
    labels = torch.tensor([int(examples.labels[i]) for i in ids])  # type: ignore[attr-defined]
    try:
        for candidate in (trained, params):
            context.objective.params = candidate
            outputs, loss = fastif.predict(context.objective, examples, ids=ids)
            right.append(outputs.argmax(1).cpu() == labels)
            losses.append(loss.cpu())
    finally:
        context.objective.params = trained
    return torch.stack(right), torch.stack(losses)


def _make_slice_change(name: str, right: Tensor, losses: Tensor) -> SliceChange:
    change = (losses[1] - losses[0]).double()
    mean, half = mean_t_interval(change.tolist(), CONFIDENCE)
    half = half if len(change) > 1 else 0.0
    before, after = (float(r.float().mean()) for r in right)
    return SliceChange(name, len(change), before, after, mean, mean - half, mean + half)


def decide_improvement(slices: Sequence[SliceChange]) -> tuple[bool, str]:
    """Decide whether held-out failures gain, and queries do not lose, significantly.

    Returns:
        Whether it is an improvement, and the reason in one sentence.
    """
    held_out, queries = slices[0], slices[1]
    if held_out.high >= 0:
        return False, (
            f"No improvement: on the {held_out.rows} held-out failures the loss changes by "
            f"{held_out.loss:+.3f} nats ({held_out.low:+.3f} to {held_out.high:+.3f})."
        )
    if queries.low > 0 and queries.after < queries.before:
        return False, (
            "No improvement: the held-out failures gain, but the queries lose: accuracy "
            f"{queries.before:.1%} to {queries.after:.1%}, loss {queries.loss:+.3f} nats "
            f"({queries.low:+.3f} to {queries.high:+.3f})."
        )
    return True, (
        f"Improved: on the {held_out.rows} held-out failures the loss changes by "
        f"{held_out.loss:+.3f} nats ({held_out.low:+.3f} to {held_out.high:+.3f}), and accuracy "
        f"from {held_out.before:.1%} to {held_out.after:.1%}; accuracy on all queries changes from "
        f"{queries.before:.1%} to {queries.after:.1%}."
    )
