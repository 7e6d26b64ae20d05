"""Answers by sketches alone, whose queries' sketches the next night takes over."""

from torch import Tensor

import fastif
from tasks.run.context import Job
from tasks.run.sketches import asked_sketches


def by_sketches_alone(job: Job, ids: Tensor) -> fastif.Attribution:
    """The k most extreme training rows of each query by their sketches, and these scores."""
    search = job.search
    assert isinstance(search, fastif.Sketched), "one method, whose scores are kept"
    rows = asked_sketches(job, search, ids, keep=job.study.carry is not None)
    return fastif.attribute_by_sketches(search, rows)
