"""Which layers carry the effects on one query: it is solved again, for the rows that are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

import fastif
from storage import StoreError
from tasks.planning.open_run import checked_job
from tasks.results.diagnostics import Row
from tasks.results.summary import Explained
from tasks.run.context import Job
from tasks.run.spec import Plan


@dataclass(frozen=True)
class Layers:
    """Removal effects in nats, split over named parts of the parameters.

    Attributes:
        names: of the parts.
        rows: id of a training example, and its effect through each part; they sum to the whole.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


def effects_by_layer(plan: Plan, explained: Explained) -> Layers:
    """Split the effects of the shown training examples over the layers that they pull on.

    Raises:
        StoreError: the query was quarantined, so there is nothing to split.
    """
    query, shown = explained.query, [*explained.harmful, *explained.helpful]
    if query["reason"]:
        raise StoreError.at(
            f"query {query['id']}",
            expected="a query that has scores",
            got=f"a quarantined one: {query['reason']}",
            remedy="Take another query.",
        )
    job = checked_job(plan)
    blocks = fastif.Blocks.by_layer(job.objective.space)
    found = [_split(member, query, shown, blocks) for member in job.averaged]
    effects = torch.stack(found).mean(0)
    rows = zip(shown, effects.tolist(), strict=True)
    return Layers(blocks.names, tuple((str(row["train_id"]), tuple(each)) for row, each in rows))


def _split(job: Job, query: Row, shown: Sequence[Row], blocks: fastif.Blocks) -> torch.Tensor:
    """[rows blocks] of one model."""
    asked = torch.tensor([int(str(query["query"]))])
    scorer = job.alone(fastif.Everything()).solve(job.query_texts, asked).scorer
    ids = torch.tensor([[int(str(row["train"])) for row in shown]])
    return fastif.influence_by_block(
        scorer.gradients,
        job.train,
        scorer.s_test,
        ids,
        blocks,
        batch_size=job.study.run.batch_size,
        weights=scorer.weights,
    )[0].cpu()
