"""Selection of a random audit sample: successive draws in proportion to size, by hashes."""

import hashlib
import math
from dataclasses import dataclass

import polars as pl

from tasks.data.row_hashes import content_digest
from tasks.mislabels.group_counts import list_group_columns
from tasks.mislabels.stored_samples import DESIGN, UNKNOWN_ERROR


@dataclass(frozen=True, eq=False)
class RandomReview:
    """Random audit sample that is about to be exported.

    Attributes:
        population: Rows that the sample was taken from, see `StoredSample.population`.
        rows: Rows of the sample, in the order of the draws, with the `chance` of each draw.
    """

    population: pl.DataFrame
    rows: pl.DataFrame


def sample_rows(unreviewed: pl.DataFrame, count: int) -> RandomReview:
    """Sample rows without replacement, by successive draws in proportion to size.

    Each row u waits for -log(U_u) / (copies_u · size_u), U_u uniform, and the rows with the
    shortest waiting times are the draws in order (Efraimidis and Spirakis, 2006). Every prefix is a
    sample of the same design. U is a hash of the row and of the whole design: independent of the
    errors, the same until a row is reviewed or searched again, and then independent of the earlier
    sample. Equal rows are one, and are sampled as often as all of them.

    Args:
        unreviewed: Unreviewed rows of a mislabel table with their digest `row`, and with `content`
            if that is not the digest of the texts.
        count: Sample size; all rows if there are fewer.
    """
    import torch  # slow, and not needed to read annotations

    from fastif.mislabels.sampling_sizes import stratify_by_error

    contents = _read_contents(unreviewed)
    doubt = pl.col("doubt").cast(pl.Float64).fill_null(UNKNOWN_ERROR)
    distinct = (
        unreviewed.with_columns(contents, doubt)
        .with_columns(copies=pl.len().over("row"), doubt=pl.col("doubt").mean().over("row"))
        .unique("row", keep="first", maintain_order=True)
    )
    stratum, size = stratify_by_error(
        torch.tensor(distinct["doubt"].to_list(), dtype=torch.float64),
        torch.tensor(distinct["copies"].to_list()),
    )
    population = distinct.with_columns(
        stratum=pl.Series(stratum.numpy()), size=pl.Series(size.numpy())
    ).with_columns(pl.col(name).cast(kind) for name, kind in DESIGN.items())
    mass = pl.col("copies") * pl.col("size")
    chance = mass / (mass.sum() - mass.cum_sum().shift(1, fill_value=0.0))
    ordered = population.with_columns(_compute_waiting_times(population)).sort("wait", "row")
    rows = ordered.with_columns(chance=chance).head(count).drop("wait")
    columns = ("content", "label", *DESIGN, *list_group_columns(population))
    return RandomReview(population.select(columns), rows)


def _read_contents(rows: pl.DataFrame) -> pl.Series:
    if "content" in rows.columns:
        return rows["content"]
    texts = rows.select("text", "text_pair").iter_rows()
    return pl.Series("content", [content_digest(*pair) for pair in texts], pl.Binary)


def _compute_waiting_times(population: pl.DataFrame) -> pl.Series:
    rows = population.select("row", "copies", "stratum", "size").rows()
    design = hashlib.sha256("\n".join(sorted(f"{row}" for row in rows)).encode()).digest()
    waits = []
    for row, copies, _, size in rows:
        digest = hashlib.sha256(b"drawn" + design + row).digest()
        uniform = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
        waits.append(-math.log(uniform) / (copies * size))
    return pl.Series("wait", waits, pl.Float64)
