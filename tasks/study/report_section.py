"""`[report]`: limits of the report's tests."""

from typing import Annotated

from pydantic import Field

from tasks.study.fields import Section

Share = Annotated[float, Field(gt=0, le=1)]


class ReportLimits(Section):
    """`[report]`: limits against which a run is tested on the report page; none by default.

    A test passes or fails by its confidence interval, where it has one, and warns in between.
    """

    accuracy_below: Share | None = None
    """least accuracy on the queries"""
    accuracy_drop_above: Annotated[float, Field(ge=0, lt=1)] | None = None
    """largest fall of the accuracy since the last comparable run, on the queries of both runs;
    0.02 is two points"""
    slice_below: Share | None = None
    """least accuracy on each value of the first group column of the queries with 10 or more"""
    wrong_labels_above: Annotated[float, Field(ge=0, lt=1)] | None = None
    """largest share of wrong labels among the training rows, by an annotated random sample"""
    leaks_above: Annotated[int, Field(ge=0)] | None = None
    """largest number of queries that are training rows"""
    recall_below: Share | None = None
    """least recall of the candidates, of the top 10 and of the top 100"""
    residual_above: Annotated[float, Field(gt=0)] | None = None
    """largest residual of a query"""

    @property
    def has_limits(self) -> bool:
        """Whether any limit is set."""
        return any(value is not None for value in self.model_dump().values())
