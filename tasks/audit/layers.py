"""Layerwise effects: the scores of one query, split by layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

import fastif
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from storage import StoreError
from tasks.planning.open_run import validate_run
from tasks.results.evidence import Row
from tasks.results.explained_query import ExplainedQuery
from tasks.run.assemble import make_member_attributor
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_train_examples
from tasks.run.spec import RunPlan
from tasks.study.tree_study import refuse_trees


@dataclass(frozen=True)
class LayerEffects:
    """Removal effects in nats, split over layers.

    Attributes:
        names: Names of the layers.
        rows: Id of each training row with its effect through each layer; the effects sum to the
            score.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


def compute_layer_effects(plan: RunPlan, explanation: ExplainedQuery) -> LayerEffects:
    """Split the effects of the shown training rows over the layers.

    The query is solved again, since the store does not hold solutions.

    Raises:
        StudyError: The model are boosted trees.
        StoreError: The query is quarantined and has no scores.
    """
    study = plan.inputs.study
    change = "leave the option out: the leaf values of all rounds are fitted together"
    refuse_trees(study.path, study.has_trees, "--layers", change)
    query, shown = explanation.query, [*explanation.harmful, *explanation.helpful]
    if query["reason"]:
        raise StoreError(
            f"query {query['id']}",
            expected="a query that has scores",
            got=f"a quarantined query: {query['reason']}",
            remedy="Choose another query.",
        )
    context = validate_run(plan)
    if context.is_unrolled:
        raise StoreError(
            f"run {plan.record.run}",
            expected="effects of the weights at one point, which are sums over layers",
            got="effects through the training, which the selection of the estimator has chosen",
            remedy="Set through_training = false under [estimator], and run the audit again.",
        )
    blocks = ParameterBlocks.from_layers(context.objective.space)
    model_effects = [
        _compute_model_effects(member, query, shown, blocks) for member in context.averaged_members
    ]
    effects = torch.stack(model_effects).mean(0)
    rows = zip(shown, effects.tolist(), strict=True)
    return LayerEffects(
        blocks.names, tuple((str(row["train_id"]), tuple(values)) for row, values in rows)
    )


def _compute_model_effects(
    context: RunContext, query: Row, shown: Sequence[Row], blocks: ParameterBlocks
) -> torch.Tensor:
    """Return the layerwise effects of one model, [rows, layers]."""
    query_ids = torch.tensor([int(str(query["query"]))])
    scorer = (
        make_member_attributor(context, fastif.ExhaustiveSearch())
        .solve(context.query_examples, query_ids)
        .scorer
    )
    ids = torch.tensor([[int(str(row["train"])) for row in shown]])
    return layerwise_influence(
        scorer.gradients,
        get_train_examples(context),
        scorer.s_test,
        ids,
        blocks,
        weights=scorer.weights,
    )[0].cpu()
