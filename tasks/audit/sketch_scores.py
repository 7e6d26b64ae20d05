"""Answers by sketches alone, whose queries' sketches the next night takes over."""

from torch import Tensor

import fastif
from fastif.attribution.attribution import attribute_by_sketches
from tasks.run.assemble import make_search
from tasks.run.context import RunContext
from tasks.run.sketches import load_query_sketches


def attribute_without_rescoring(context: RunContext, ids: Tensor) -> fastif.Attribution:
    """The k most extreme training rows of each query by their sketches, and these scores."""
    search = make_search(context).without_rescoring
    assert search is not None, "one method, whose scores are kept"
    sketches = load_query_sketches(context, search, ids, keep=context.study.carry is not None)
    return attribute_by_sketches(search, sketches)
