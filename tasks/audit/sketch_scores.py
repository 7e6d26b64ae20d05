"""Scores by sketches without exact rescoring; incremental runs reuse the queries' sketches."""

from torch import Tensor

import fastif
from fastif.attribution.attribution import attribute_by_sketches
from tasks.run.assemble import make_search
from tasks.run.context import RunContext
from tasks.run.sketches import load_query_sketches


def attribute_without_rescoring(context: RunContext, ids: Tensor) -> fastif.Attribution:
    """Return the top-k and bottom-k training rows of each query by inner products of sketches."""
    search = make_search(context).without_rescoring
    assert search is not None, "a single method without rescoring"
    sketches = load_query_sketches(context, search, ids, keep=context.study.carry is not None)
    return attribute_by_sketches(search, sketches)
