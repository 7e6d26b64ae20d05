"""What candidates miss: a few queries are scanned in full when all are answered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.candidates.retrieval import found_by
from fastif.data.examples import Selected
from fastif.evaluation.recall import (
    AT,
    Recall,
    agreement,
    recall,
)
from fastif.numerics.stratified_sample import Column, raked, stratified
from tasks.planning.open_run import leased_job
from tasks.run.context import Job, cached
from tasks.run.k_selection import MIN_ASKED
from tasks.run.reuse import recalled
from tasks.run.spec import RunRef
from tasks.runtime.progress import stage
from tasks.runtime.retries import passing_faults
from tasks.study.sections import FullScan

SEED = 1_618_033_988


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries that are scanned in full.

    Attributes:
        ids: their positions.
        weights: how many queries each stands for.
        groups: "label", and "slice" if the queries have groups -> that of each.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    groups: Mapping[str, Column]


@task(name="check-recall", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def check_recall(ref: RunRef) -> list[Recall]:
    """Recall of the run's candidates, and of each of several methods.

    Empty for a full scan, or where none is asked for. A run that goes on from another has that
    one's: its candidates are found in the same way.
    """
    with leased_job(ref) as job:
        candidates = job.candidates
        if isinstance(candidates, FullScan) or not candidates.check:
            return []
        if job.carried:
            return recalled(job)
        places = _others(job, _answered(job, ref.run), candidates.check)
        asked = drawn(job, places, candidates.check, SEED)
        if not len(asked.ids):
            return []
        scanned = scanned_in_full(job, asked.ids).influences
        ids, effects = _found(job, ref.run, asked.ids)
        methods = {None: ids, **_found_by_each(job, asked.ids)}
        first, *others = (
            replace(one, method=name)
            for name, found in methods.items()
            for one in recall(found, scanned, weights=asked.weights, groups=asked.groups)
        )
        if job.by_sketches:
            first = replace(first, agreement=agreement(ids, effects, scanned))
        return [first, *others]


def told(found: Sequence[Recall]) -> list[dict]:
    """For the column `recall` of the table `runs`."""
    return [asdict(one) for one in found]


def asked_for_k(job: Job) -> Asked:
    """The queries that k is chosen on; always the same ones."""
    given = job.study.candidates
    count = MIN_ASKED if isinstance(given, FullScan) else max(given.check, MIN_ASKED)
    return drawn(job, torch.arange(len(job.query_texts)), count, SEED + 1)


def drawn(job: Job, places: torch.Tensor, count: int, seed: int) -> Asked:
    """So many of these queries at random, of every label and slice if it can be."""
    if not len(places):
        return Asked(places, places.double(), {})
    table, names = job.plan.inputs.queries, job.study.labels
    columns = {"label": [names[table.labels[i]] for i in places.tolist()]}
    for group in list(table.groups.values())[:1]:
        columns["slice"] = [group[i] for i in places.tolist()]
    chosen = stratified(list(columns.values()), count, seed)
    groups = {name: [column[i] for i in chosen.tolist()] for name, column in columns.items()}
    return Asked(places[chosen], raked(list(columns.values()), chosen), groups)


def scanned_in_full(job: Job, ids: torch.Tensor) -> fastif.Attribution:
    """These queries' most influential rows of all."""
    everything = fastif.Everything(max(AT))
    members = [replace(member.alone(everything), certify_rows=0) for member in job.averaged]
    with stage("recall: queries scanned in full", len(job.train)) as watch:
        # of its own training set, since what watches is another one
        known, watched = members[0].row_leverage, watch(members[0].train)
        members[0] = replace(members[0], train=watched, leverage=known)
        return fastif.Ensemble(members)(job.queries, ids)


def _others(job: Job, answered: torch.Tensor, count: int) -> torch.Tensor:
    """Those that k was not chosen on, if there are enough: on these the recall is flattered."""
    if job.candidate_choice is None:
        return answered
    others = answered[~torch.isin(answered, asked_for_k(job).ids)]
    return others if len(others) >= count else answered


def _answered(job: Job, run: str) -> torch.Tensor:
    solves = job.store.scan("solves", run).filter(pl.col("reason").is_null())
    places = solves.select("query").collect()["query"].to_list()
    return torch.tensor(sorted(places), dtype=torch.long)


def _found(job: Job, run: str, ids: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Each query's candidates and their effects."""
    scores = job.store.scan("scores", run).filter(pl.col("query").is_in(ids.tolist()))
    wanted = scores.select("query", "train", "removal_effect").collect()
    by_query = wanted.group_by("query").agg("train", "removal_effect").rows_by_key("query")
    none: list[tuple] = [([], [])]
    rows = [by_query.get(query, none)[0] for query in ids.tolist()]
    found = [torch.tensor(train, dtype=torch.long) for train, _ in rows]
    return found, [torch.tensor(effects) for _, effects in rows]


def _found_by_each(job: Job, ids: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """The same anew for each method of a union, by its name; nothing for one method."""
    if not isinstance(job.search, fastif.United):
        return {}
    gradients = fastif.Gradients(job.objective)
    queries = cached(job.objective, Selected(job.query_texts, ids), job.study)
    size, every = job.study.run.batch_size, fastif.every(queries)
    names = _names([method.kind for method in job.study.candidates.methods])
    return {
        name: list(found_by(search, gradients, queries, every, size).ids)
        for name, search in zip(names, job.search.of, strict=True)
    }


def _names(kinds: Sequence[str]) -> list[str]:
    """The kinds of several methods, with the place of those that stand there twice.

    >>> _names(["sketch", "knn", "sketch"])
    ['sketch 1', 'knn', 'sketch 3']
    """
    return [
        f"{kind} {place + 1}" if kinds.count(kind) > 1 else kind for place, kind in enumerate(kinds)
    ]
