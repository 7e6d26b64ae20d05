"""Selection of the number of candidates k: the smallest that reaches `target_recall`."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.candidates import IndexSearch
from fastif.candidates.class_quota import quota_count
from fastif.evaluation.select_k import KSelection, make_k_grid, select_k
from tasks.audit.check_recall import run_full_scan, sample_queries_for_k
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.planning.open_run import lease_run
from tasks.run.artifact_keys import index_digests, k_digest
from tasks.run.artifacts import read_search_method
from tasks.run.assemble import get_class_ids
from tasks.run.context import RunContext
from tasks.run.reuse import get_reuse, make_lost_choice_error
from tasks.run.selections import K
from tasks.run.spec import RunRef
from tasks.runtime.retries import retry_if_transient
from tasks.study.candidate_section import IndexSection


@task(
    name="choose-candidates",
    cache_policy=NO_CACHE,
    retries=2,
    retry_condition_fn=retry_if_transient,
)
def choose_candidates(ref: RunRef) -> None:
    """Select k before the first shard, unless it is set or was selected before."""
    with lease_run(ref) as context:
        method = context.study.candidates.target_method
        if method is not None and context.k_selection is None:
            if get_reuse(context):
                raise make_lost_choice_error(context, "number of candidates")
            K.write(context.store, k_digest(context), _choose_k(context, method))


def _choose_k(context: RunContext, method: IndexSection) -> KSelection:
    """Select k by full scans of a sample of queries; quarantined ones are left out."""
    assert method.target_recall is not None
    sample = sample_queries_for_k(context)
    attribution = run_full_scan(context, sample.ids)
    is_answered = ~attribution.certificate.quarantined
    return select_k(
        *_prepare_search(context, method, sample.ids[is_answered]),
        attribution.influences.select_queries(is_answered),
        method.target_recall,
        [k for k in make_k_grid(len(context.train_examples)) if _is_k_allowed(method, k)],
        sample.weights[is_answered],
    )


def _prepare_search(
    context: RunContext, method: IndexSection, ids: torch.Tensor
) -> tuple[IndexSearch, torch.Tensor]:
    """Return the search of the method, and its query vectors."""
    searcher, labels = context.searcher, get_class_ids(context)
    (digest,) = index_digests(searcher)
    any_k = method.model_copy(update={"k": 1})
    search = read_search_method(context.store, digest, any_k, searcher.objective, labels)
    examples = context.query_examples.subset(ids)
    queries = cache_hidden_states(searcher.objective, examples, context.study)
    return search, search.compute_query_vectors(fastif.Gradients(searcher.objective), queries)


def _is_k_allowed(method: IndexSection, k: int) -> bool:
    """Return whether a quota gives each label at least one of k candidates."""
    return method.quota is None or quota_count(method.quota, k) > 0
