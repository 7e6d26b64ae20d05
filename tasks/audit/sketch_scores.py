"""Answers by sketches alone, whose queries' sketches the next night takes over."""

from torch import Tensor

import fastif
from fastif.attribution.attribution import attribute_by_sketches
from tasks.run.context import RunContext
from tasks.run.sketches import load_query_sketches


def attribute_without_rescoring(job: RunContext, ids: Tensor) -> fastif.Attribution:
    """The k most extreme training rows of each query by their sketches, and these scores."""
    search = job.search.without_rescoring
    assert search is not None, "one method, whose scores are kept"
    sketches = load_query_sketches(job, search, ids, keep=job.study.carry is not None)
    return attribute_by_sketches(search, sketches)
