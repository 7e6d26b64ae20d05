"""Single query of boosted trees: one scan of all training rows."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from tasks.audit.example_frames import make_prediction_columns
from tasks.audit.single_query import QueryRequest, make_explanation
from tasks.planning.open_run import lease_run
from tasks.results.explained_query import ExplainedQuery
from tasks.run.spec import RunRef
from tasks.run.tree_run import get_tree_queries, make_tree_scan


@task(name="answer-urgent-trees", cache_policy=NO_CACHE, persist_result=False)
def attribute_tree_query(request: QueryRequest, ref: RunRef) -> ExplainedQuery:
    """Score every training row for a query by the method of the study."""
    with lease_run(ref) as context:
        queries, ids = get_tree_queries(context), request.ids
        attribution = make_tree_scan(context)(queries, ids)
        with torch.no_grad():
            outputs, values = fastif.predict(context.objective, queries, ids=ids)
        rows = context.plan.inputs.queries.take([request.query])
        columns = make_prediction_columns(context.study, rows, outputs, queries, ids)
        predicted = {name: columns[name][0] for name in ("prediction", "loss", "correct")}  # type: ignore[index]
        return make_explanation(context, request, attribution, predicted, float(values[0]))
