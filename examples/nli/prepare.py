"""Make the two tables of this example from full copies of MultiNLI and HANS.

You do not need this: the tables are in `data/`. It documents how they were made. It reads
`multinli/train_subset.parquet`, `multinli/dev_matched.parquet` and `hans/evaluation.parquet` below
the folder named by the environment variable FASTIF_DATA:

    FASTIF_DATA=/path/to/data python examples/nli/prepare.py

Rows are chosen by the SHA-256 of a seed and their id, so the choice depends on no random generator
and no library version.
"""

import hashlib
import os
from pathlib import Path

import polars as pl

SEED = "fastif-nli-0"
TRAIN_PER_LABEL = 1750
QUERIES_PER_SUBCASE = 5
QUERIES_MNLI = 150
HERE = Path(__file__).parent / "data"

LABEL = (
    pl.when(pl.col("label") == "entailment")
    .then(pl.lit("entailment"))
    .otherwise(pl.lit("non-entailment"))
    .alias("label")
)
PAIR = pl.concat_str("premise", "hypothesis", separator="\t").str.to_lowercase()
# Two pairs that differ in nothing but spaces and punctuation are the same pair.
SKELETON = PAIR.str.replace_all(r"[^\p{L}\p{N}\t]", "")


def sample_rows(rows: pl.DataFrame, count: int, column: str) -> pl.DataFrame:
    """Return `count` rows of each value of a column, chosen and ordered by hash."""
    digests = [hashlib.sha256(f"{SEED}:{key}".encode()).hexdigest() for key in rows["id"]]
    ranked = rows.with_columns(pl.Series("rank", digests)).sort("rank")
    return ranked.group_by(column, maintain_order=True).head(count).sort("rank").drop("rank")


def make_queries(data: Path) -> pl.DataFrame:
    """300 queries: HANS pairs from every subcase, then MultiNLI matched development pairs."""
    hans = pl.read_parquet(data / "hans/evaluation.parquet")
    mnli = pl.read_parquet(data / "multinli/dev_matched.parquet")
    suite = pl.lit("mnli").alias("suite")
    tables = [
        sample_rows(hans, QUERIES_PER_SUBCASE, "subcase").with_columns(
            pl.lit("hans").alias("suite")
        ),
        sample_rows(mnli.with_columns(suite), QUERIES_MNLI, "suite").with_columns(LABEL),
    ]
    columns = ["id", "premise", "hypothesis", "label", "suite", "heuristic", "subcase", "genre"]
    return pl.concat(tables, how="diagonal").select(columns)


def make_train(data: Path, queries: pl.DataFrame) -> pl.DataFrame:
    """3,500 training pairs, half of each label, none of them a query."""
    rows = pl.read_parquet(data / "multinli/train_subset.parquet")
    rows = rows.filter(pl.col("source") != "taxinli")  # its licence sets its own terms
    query_keys = queries.select(SKELETON.alias("skeleton"))["skeleton"].implode()
    rows = rows.filter(~SKELETON.is_in(query_keys))
    rows = rows.with_columns(pl.col("label").alias("label_3way")).with_columns(LABEL)
    columns = ["id", "premise", "hypothesis", "label", "label_3way", "genre", "source"]
    return sample_rows(rows, TRAIN_PER_LABEL, "label").select(columns)


def main() -> None:
    """Write both tables."""
    data = Path(os.environ["FASTIF_DATA"])
    queries = make_queries(data)
    train = make_train(data, queries)
    HERE.mkdir(exist_ok=True)
    for name, table in (("train", train), ("queries", queries)):
        path = HERE / f"{name}.parquet"
        table.write_parquet(path, compression="zstd", compression_level=19)
        print(f"{path.name}: {len(table)} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
