"""What candidates miss: a few queries are scanned in full when all are answered."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.candidates.recall import AT, Recall, recall
from tasks.job import Job, open_job
from tasks.plan import RunRef
from tasks.progress import stage
from tasks.retry import passing_faults
from tasks.sections import FullScan

LITTLE = 0.5
SEED = 1_618_033_988


@task(name="check-recall", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def check_recall(ref: RunRef) -> list[Recall]:
    """Recall of the run's candidates; empty for a full scan, or where none is asked for."""
    job = open_job(ref)
    candidates = job.study.candidates
    if isinstance(candidates, FullScan) or not candidates.check:
        return []
    ids = _drawn(job, ref.run, candidates.check)
    return recall(_found(job, ref.run, ids), _scanned(job, ids)) if len(ids) else []


def told(found: Sequence[Recall]) -> list[dict]:
    """For the column `recall` of the table `runs`."""
    return [asdict(one) for one in found]


def recall_evidence(told: list[dict]) -> str:
    """What a person should read of it.

    >>> recall_evidence([{"at": 10, "queries": 8, "share": 0.9, "low": 0.6, "high": 1.0}])
    '0.90 of the top 10 (0.60 - 1.00), 8 queries scanned in full'
    """
    parts = [
        f"{one['share']:.2f} of the top {one['at']} ({one['low']:.2f} - {one['high']:.2f})"
        for one in told
    ]
    return f"{', '.join(parts)}, {told[0]['queries']} queries scanned in full"


def recall_alarms(told: list[dict]) -> Iterator[str]:
    """Whether the candidates miss most of what matters."""
    if told and told[0]["share"] < LITTLE:
        yield (
            f"The candidates hold {told[0]['share']:.0%} of the {told[0]['at']} most influential "
            'rows of a query: take [candidates] kind = "sketch", or "full".'
        )


def _drawn(job: Job, run: str, count: int) -> torch.Tensor:
    """Random queries that have an answer, always the same ones."""
    solves = job.store.scan("solves", run).filter(pl.col("reason").is_null())
    answered = torch.tensor(sorted(solves.select("query").collect()["query"].to_list()))
    generator = torch.Generator().manual_seed(SEED)
    return answered[torch.randperm(len(answered), generator=generator)[:count]].sort().values


def _found(job: Job, run: str, ids: torch.Tensor) -> list[torch.Tensor]:
    scores = job.store.scan("scores", run).filter(pl.col("query").is_in(ids.tolist()))
    by_query = scores.select("query", "train").collect().group_by("query").agg("train")
    rows = {row["query"]: torch.tensor(row["train"]) for row in by_query.iter_rows(named=True)}
    return [rows.get(query, torch.empty(0, dtype=torch.long)) for query in ids.tolist()]


def _scanned(job: Job, ids: torch.Tensor) -> fastif.Influences:
    everything = fastif.Everything(max(AT))
    members = [replace(member.alone(everything), certify_rows=0) for member in job.members]
    with stage("recall: queries scanned in full", len(job.train)) as watch:
        members[0] = replace(members[0], train=watch(members[0].train))
        return fastif.Ensemble(members)(job.queries, ids).influences
