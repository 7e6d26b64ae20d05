"""IndexProblem and IndexCost: cost model of a candidate index, from sizes alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PendingIndex:
    """Parts of an index that are not in the store yet.

    Attributes:
        rows: Number of training rows without a vector; duplicates can be counted once.
        has_sketcher: Whether the fitted sketcher exists, or the method needs none.
        has_list: Whether the index itself exists.
    """

    rows: int
    has_sketcher: bool = True
    has_list: bool = False


@dataclass(frozen=True)
class IndexProblem:
    """Sizes that the cost of an index depends on.

    Attributes:
        train: Number of training examples, n.
        curvature_rows: Number of training examples in the curvature, m.
        factor_rows: Number of rows of the GGN factor.
        embedding_width: Width of the model's final representation.
        pending: Parts of the index that have to be computed.
    """

    train: int
    curvature_rows: int
    factor_rows: int
    embedding_width: int
    pending: PendingIndex


@dataclass(frozen=True)
class IndexCost:
    """Cost of building or searching an index.

    Attributes:
        forwards: Number of forward passes of a training row.
        gradients: Number of gradients of training rows.
        disk_bytes: Bytes written, without compression.
        working_bytes: Bytes of memory while the index is built or searched.
    """

    forwards: int = 0
    gradients: int = 0
    disk_bytes: int = 0
    working_bytes: int = 0
