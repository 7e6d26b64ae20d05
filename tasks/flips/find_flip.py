"""Task that searches the flip set of one query."""

from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif import InputError
from fastif.attribution.flip_set import FlipSet
from tasks.flips.flip_answer import EditedRow, FlipAnswer
from tasks.flips.flip_request import FlipRequest
from tasks.planning.open_run import lease_run
from tasks.run.assemble import make_member_attributor
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples
from tasks.run.spec import RunRef
from tasks.runtime.retries import retry_if_transient

WITHOUT_CHECKPOINTS = (
    "The checkpoints that the audit averages are left out: the set is of the model at the end of "
    "the training."
)


@task(
    name="find-flip-set",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_condition_fn=retry_if_transient,
)
def find_flip(request: FlipRequest, ref: RunRef) -> FlipAnswer:
    """Search the smallest set of training rows that is predicted to flip the query.

    Raises:
        InputError: The effects of the run are those through the training, or the model is no
            classifier of classes by number.
    """
    with lease_run(ref) as context:
        if context.is_unrolled:
            raise InputError(
                f"run {ref.run}",
                "effects of the weights at one point",
                "effects through the training, which the selection of the estimator has chosen",
                "Set through_training = false under [estimator].",
            )
        attributor = make_member_attributor(context, fastif.ExhaustiveSearch())
        flip = fastif.find_flip_set(
            attributor,
            get_query_examples(context),
            request.query,
            relabel=request.relabel,
            max_rows=request.max_rows,
        )
        return _make_answer(context, request, ref, flip)


def _make_answer(
    context: RunContext, request: FlipRequest, ref: RunRef, flip: FlipSet
) -> FlipAnswer:
    labels, queries, query = context.study.labels, context.plan.inputs.queries, request.query
    return FlipAnswer(
        run=ref.run,
        query=query,
        query_id=queries.ids[query],
        text=queries.texts[query],
        text_pair=None if queries.text_pairs is None else queries.text_pairs[query],
        relabel=request.relabel,
        prediction=labels[flip.prediction],
        runner_up=labels[flip.runner_up],
        rival=labels[flip.rival],
        new_prediction=labels[flip.corrected_prediction],
        margin=flip.margin,
        rival_margin=flip.rival_margin,
        is_flip=flip.is_flip,
        rows=tuple(_list_rows(context, flip)),
        max_rows=flip.max_rows,
        first_order_size=flip.first_order_size,
        first_order_margin=flip.first_order_margin,
        one_step_margin=flip.one_step_margin,
        corrected_margin=flip.corrected_margin,
        leverage=flip.leverage,
        residual=flip.residual,
        response_residual=flip.response_residual,
        notes=(*flip.notes, *([WITHOUT_CHECKPOINTS] if context.others else [])),
    )


def _list_rows(context: RunContext, flip: FlipSet) -> list[EditedRow]:
    train, labels = context.plan.inputs.train, context.study.labels
    new = [None] * len(flip) if flip.new_labels is None else flip.new_labels.tolist()
    return [
        EditedRow(
            row,
            train.ids[row],
            train.texts[row],
            None if train.text_pairs is None else train.text_pairs[row],
            labels[train.labels[row]],
            None if label is None else labels[label],
            effect,
        )
        for row, label, effect in zip(flip.ids.tolist(), new, flip.effects.tolist(), strict=True)
    ]
