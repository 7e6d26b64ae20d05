"""Task that stores the predicted labels of the queries, where they are targets of measures."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.planning.open_run import lease_run
from tasks.run.spec import RunRef
from tasks.run.stored_predictions import write_predictions
from tasks.runtime.retries import retry_if_transient


@task(
    name="predict-queries", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def predict_queries(ref: RunRef) -> None:
    """Store the predicted labels before the first shard, unless every target is a given label."""
    with lease_run(ref) as context:
        if context.predicted is not None:
            write_predictions(context.store, context.plan, list(context.predicted))
