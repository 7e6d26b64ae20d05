"""k nearest neighbours by cosine similarity, and kNN smoothing of logits."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import CandidateIndex

MAX_EXACT_ROWS = 100_000
"""Number of rows up to which the search is exact; beyond, it uses an inverted file index (IVF)."""

PROBES, TRAINING_ROWS_PER_CELL = 32, 40
"""Number of cells of the inverted file that a search visits, and of rows a cell that train it."""

TILE_ROWS = 16_384
"""Number of rows that are normalized and searched at a time."""

EXACT_ROWS = 512
"""Number of rows for which an exact search is made at a time."""

RECALL_ROWS = 200
"""Size of the random sample of rows on which the recall of an approximate search is measured."""


def find_neighbours(
    features: Float[Tensor, "n d"], k: int, advance: Callable[[int], object] | None = None
) -> Int[Tensor, "n k"]:
    """Find the k nearest neighbours of each row by cosine similarity, the row itself excluded.

    Beyond 100,000 rows the search is approximate: it visits 32 of the 4 √n cells of an inverted
    file with codes of eight bits a number; see `measure_neighbour_recall`.

    Args:
        features: Features of the rows, [n, d].
        k: Number of neighbours; n - 1 if there are fewer other rows.
        advance: Progress callback, called with the number of rows that were searched.

    Returns:
        Positions of the neighbours, nearest first, [n, k].

    Examples:
        >>> find_neighbours(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1)
        tensor([[1],
                [0],
                [1]])
    """
    n = len(features)
    k = min(k, n - 1)
    index = _index_rows(features)
    neighbour_ids = torch.empty(n, k, dtype=torch.long)
    for start in range(0, n, TILE_ROWS):
        unit = normalize_rows(features[start : start + TILE_ROWS])
        nearest = index.search(unit, k + 1).ids
        # The visited cells of a row far from all others may have too few rows.
        is_short = (nearest < 0).any(1)
        nearest[is_short] = _search_exactly(features, start + is_short.nonzero()[:, 0], k + 1)[1]
        is_self = nearest == torch.arange(start, start + len(unit))[:, None]
        # Among duplicates the row itself may be missing from the nearest ones: drop the last one.
        is_self[~is_self.any(1), -1] = True
        neighbour_ids[start : start + len(unit)] = nearest[~is_self].view(len(unit), k)
        if advance is not None:
            advance(len(unit))
    return neighbour_ids


def measure_neighbour_recall(
    features: Float[Tensor, "n d"], neighbour_ids: Int[Tensor, "n k"]
) -> float:
    """Measure the recall of `find_neighbours`: share of the k nearest rows that it returns.

    The truth is an exact search for 200 random rows; ties count as nearest.

    Args:
        features: Features of the rows, [n, d].
        neighbour_ids: Positions of each row's neighbours, [n, k].
    """
    n, k = neighbour_ids.shape
    sample = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:RECALL_ROWS]
    best, _ = _search_exactly(features, sample, k + 1)
    unit = normalize_rows(features[sample])
    neighbours = normalize_rows(features[neighbour_ids[sample].flatten()]).view(len(sample), k, -1)
    cosines = torch.einsum("md,mkd->mk", unit, neighbours)
    # The row itself is the first of its nearest rows.
    return float((cosines >= best[:, k:] - 1e-5).float().mean())


def normalize_rows(features: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """Scale each row to norm 1; a row of zeros stays as it is."""
    return features / features.norm(dim=1, keepdim=True).clamp_min(1e-9)


def _search_exactly(
    features: Tensor, ids: Int[Tensor, " m"], k: int
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """Cosines and positions of the k nearest rows of some rows, the row itself included."""
    parts = []
    for part in ids.split(EXACT_ROWS):
        unit = normalize_rows(features[part])
        best = torch.full((len(part), k), -torch.inf, dtype=unit.dtype)
        positions = torch.zeros(len(part), k, dtype=torch.long)
        for start in range(0, len(features), TILE_ROWS):
            cosines = unit @ normalize_rows(features[start : start + TILE_ROWS]).T
            columns = torch.arange(start, start + cosines.shape[1]).expand(cosines.shape)
            best, order = torch.cat([best, cosines], 1).topk(k, 1)
            positions = torch.cat([positions, columns], 1).gather(1, order)
        parts.append((best, positions))
    if not parts:
        return features.new_zeros(0, k), torch.zeros(0, k, dtype=torch.long)
    cosines, nearest = (torch.cat(column) for column in zip(*parts, strict=True))
    return cosines, nearest


def _index_rows(features: Tensor) -> CandidateIndex:
    """Index the normalized rows, exactly or in cells, by tiles."""
    n = len(features)
    if n <= MAX_EXACT_ROWS:
        index = CandidateIndex.train_on_sample(features[:1], "Flat")
    else:
        cells = int(4 * math.sqrt(n))
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        sample = normalize_rows(features[order[: TRAINING_ROWS_PER_CELL * cells]])
        index = CandidateIndex.train_on_sample(sample, f"IVF{cells},SQ8")
        index.set_probes(PROBES)
        del sample  # a sixth of a million rows
    for tile in features.split(TILE_ROWS):
        index.add(normalize_rows(tile))
    return index


def get_neighbour_weight(classes: int) -> float:
    """Return the weight of the neighbours in kNN smoothing: 0, ¼ from three, ½ from five classes.

    Smoothing lowers the variance of a head with many classes and few rows in each, and adds bias
    in every table. Of 98 tables with known wrong labels, those with two classes are ranked best
    without it, those with three or four at a weight of ¼, and those with more at ½.

    Examples:
        >>> [get_neighbour_weight(classes) for classes in (2, 4, 5)]
        [0.0, 0.25, 0.5]
    """
    if classes < 3:
        return 0.0
    return 0.25 if classes < 5 else 0.5


def smooth_logits(
    row_logits: Float[Tensor, "m c"],
    other_logits: Float[Tensor, "n c"],
    neighbour_ids: Int[Tensor, "m k"],
) -> Float[Tensor, "m c"]:
    """Smooth logits by kNN: mean of a row's log-probabilities and the log of the neighbours' mean.

        log p̃_i = (1 - w) log p_i + w log(mean over neighbours j of p_j)

    The weight w grows with the number of classes, see `get_neighbour_weight`.

    Args:
        row_logits: Logits of m rows, [m, c].
        other_logits: Logits of the n rows among which the neighbours are, [n, c].
        neighbour_ids: Positions of neighbours in `other_logits`, [m, k]; -1 for none.

    Returns:
        Smoothed log-probabilities, not normalized, [m, c]; a row without neighbours keeps its own.
    """
    log_probs = row_logits.log_softmax(1)
    weight = get_neighbour_weight(row_logits.shape[1])
    if weight == 0:
        return log_probs
    p = other_logits.softmax(1)
    neighbour_probability, count = (
        torch.zeros_like(row_logits),
        row_logits.new_zeros(len(row_logits), 1),
    )
    for column in neighbour_ids.T:  # one neighbour at a time: never n x k x c numbers
        present = (column >= 0)[:, None].to(row_logits)
        neighbour_probability += p[column.clamp_min(0)] * present
        count += present
    mean = (neighbour_probability / count.clamp_min(1)).clamp_min(1e-6).log()
    return torch.where(count > 0, (1 - weight) * log_probs + weight * mean, log_probs)
