"""IndexProblem and IndexCost: what an index of candidates takes, from sizes alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PendingIndex:
    """What of an index is not there yet.

    Attributes:
        rows: training rows without a vector; of several that are alike one may be counted.
        has_sketcher: whether what makes the vectors is there, or nothing has to be fitted.
        has_list: whether the index is there.
    """

    rows: int
    has_sketcher: bool = True
    has_list: bool = False


@dataclass(frozen=True)
class IndexProblem:
    """The sizes that the cost of an index depends on.

    Attributes:
        train: n, training examples.
        curvature_rows: m, those that the curvature is taken over.
        factor_rows: root rows of the curvature.
        embedding_width: numbers of a representation.
        pending: what is not there yet.
    """

    train: int
    curvature_rows: int
    factor_rows: int
    embedding_width: int
    pending: PendingIndex


@dataclass(frozen=True)
class IndexCost:
    """What an index takes.

    Attributes:
        forwards: training rows that pass forward.
        gradients: gradients of training rows.
        disk_bytes: what is written, as if nothing were compressed.
        working_bytes: memory while it is made or searched.
    """

    forwards: int = 0
    gradients: int = 0
    disk_bytes: int = 0
    working_bytes: int = 0
