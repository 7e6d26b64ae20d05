"""Member of a mean of models, and the attribution by one member or several."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.attribution.approximate_scorer import approximate_scorer
from fastif.attribution.attribution import (
    Attribution,
    concat_attributions,
    mask_quarantined,
    sketch_and_attribute,
)
from fastif.attribution.control_sample import compute_precision_agreement
from fastif.attribution.finalize_certificate import combine_members, finalize_certificate
from fastif.attribution.parallel_scan import score_on_devices
from fastif.attribution.ranking import Ranking
from fastif.attribution.scan_device import FurtherDevices
from fastif.attribution.slice_totals import SliceTotals
from fastif.attribution.solve_queries import SolvedQueries
from fastif.candidates.retrieval import Search
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike, as_examples
from fastif.gradients.per_example import Gradients
from fastif.gradients.route import describe_routes
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import split_on_oom
from fastif.numerics.precision import SINGLE, Precision, use_products

MakeRanking = Callable[[Examples, Int[Tensor, " q"]], Ranking]
"""Function of a table of queries and the positions of q of them."""


class Member(ABC):
    """Model of a mean: `Attributor` by influence functions, `UnrolledAttributor` through training.

    Attributes:
        objective: Trained model with its loss.
        train: Training set of n examples.
        search: Choice of the training examples to score.
        precision: Precision of the passes and products of scores.
    """

    objective: Objective
    train: ExamplesLike
    search: Search
    precision: Precision = SINGLE

    @cached_property
    @abstractmethod
    def gradients(self) -> Gradients:
        """Per-example gradients of the objective."""

    @abstractmethod
    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedQueries:
        """Return the scorer of the queries with its control scores and certificate."""

    def __call__(
        self,
        queries: ExamplesLike,
        ids: Ids | None = None,
        slices: Int[Tensor, " q"] | None = None,
        further: FurtherDevices | None = None,
    ) -> Attribution:
        """Attribute the queries at the given positions, or all queries.

        Args:
            queries: Examples to explain, read by the same model.
            ids: Positions of q queries in `queries`; all by default.
            slices: Slice number [q] of each query, from 0; with it a full scan returns
                `SliceTotals`.
            further: Devices that share a full scan, which does not change its result.

        Raises:
            InputError: A trial on a few rows fails, the damped curvature is not positive definite,
                or the record of the training is of another one.
        """
        return attribute([self], queries, ids, slices, further=further)


def attribute(
    members: Sequence[Member],
    queries: ExamplesLike,
    ids: Ids | None = None,
    slices: Int[Tensor, " q"] | None = None,
    searcher: Member | None = None,
    make_ranking: MakeRanking | None = None,
    further: FurtherDevices | None = None,
) -> Attribution:
    """Mean influence of several models; one model's search selects the candidates for all.

    Sketch scores without rescoring are those of the first model. All models are solved before
    candidates are scored, so each holds its s_test [q p]; if memory does not suffice for all
    queries, they are split into halves. `searcher` selects the candidates, by default the first
    member. With `make_ranking` the scores are ordered by `Influences.ranking_score`. The training
    rows of a full scan are split over the `further` devices that are free.
    """
    first = members[0] if searcher is None else searcher
    count = len(as_examples(queries, "queries"))
    positions = torch.arange(count) if ids is None else as_ids(ids, count)

    def attribute_subset(places: Tensor) -> Attribution:
        totals = None
        if slices is not None:
            totals = SliceTotals.make_empty(slices[places], slice_count, len(members[0].train))
        ids = positions[places]
        return _attribute(members, first, queries, ids, totals, make_ranking, further)

    for member in members:
        try_table(member.objective, member.train, "training set")
        try_table(member.objective, queries, "queries", member.objective.query_measure)
    slice_count = 0 if slices is None or not len(slices) else int(slices.max()) + 1
    return concat_attributions(
        [answer for _, answer in split_on_oom(attribute_subset, torch.arange(len(positions)))]
    )


def _attribute(
    members: Sequence[Member],
    searcher: Member,
    queries: Examples,
    ids: Tensor,
    totals: SliceTotals | None,
    make_ranking: MakeRanking | None,
    further: FurtherDevices | None,
) -> Attribution:
    search, sketch_search = searcher.search, searcher.search.without_rescoring
    if sketch_search is not None:
        return sketch_and_attribute(sketch_search, searcher.objective, queries, ids)
    with use_products(searcher.objective.like.device, SINGLE):
        solved = [member.solve_to_score(queries, ids) for member in members]
        candidates = search.find_candidates(searcher.gradients, queries, ids)
    controls, exact = [result.control for result in solved], [result.scorer for result in solved]
    certificate = combine_members([result.certificate for result in solved], controls)
    scorers = [
        approximate_scorer(scorer, search.rank, member.precision)
        for scorer, member in zip(exact, members, strict=True)
    ]
    is_approximate = any(low is not full for low, full in zip(scorers, exact, strict=True))
    del solved, exact  # s_test may not be needed in full any more
    if is_approximate:
        agreement = compute_precision_agreement(controls, scorers)
        certificate = replace(certificate, rounding=agreement)
    ranking = None if make_ranking is None else make_ranking(queries, ids)
    influences = score_on_devices(
        scorers, candidates, keep=search.keep, totals=totals, ranking=ranking, further=further
    )
    certificate = finalize_certificate(
        certificate, influences, candidates, controls, len(searcher.train)
    )
    certificate = replace(certificate, route=describe_routes([m.gradients.route for m in members]))
    full_scan_totals = totals if candidates is None else None
    return Attribution(
        mask_quarantined(influences, certificate.quarantined), certificate, full_scan_totals
    )
