"""Fields of the Parquet schemas: described columns, format version and sign convention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

FORMAT: Final = "2"
"""Version of the table format. Version 1 had no columns for certificates, quarantine and several
models."""

CONVENTION: Final = (
    "removal_effect is the predicted change of the query's measure if the training example were "
    "removed and the model retrained, positive if the measure becomes worse. The measure is the "
    "query's loss, in nats, unless the column measure of the table queries names another one: "
    "(1/n) * grad M(query)^T (H + damping I)^-1 grad L(train), with M = loss, -log-probability, "
    "-margin (in logits) or entropy; positive = M would rise = the training example is helpful, "
    "negative = M would fall = it is harmful."
)
"""Definition of `removal_effect` and its sign, stored in the schema metadata of each Parquet
file."""
GROUP_PREFIX: Final = "group_"
"""Prefix of the columns that hold a study's group columns."""


def make_field(
    name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = False
) -> pa.Field:
    """Return a column with its description and unit in the metadata; nulls only if `nullable`."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def make_schema(table: str, fields: Iterable[pa.Field]) -> pa.Schema:
    """Return a schema with the format version, table name and sign convention in its metadata."""
    metadata = {
        "fastif.format": FORMAT,
        "fastif.table": table,
        "fastif.convention": CONVENTION,
    }
    return pa.schema(list(fields), metadata=metadata)


def make_group_fields(groups: Sequence[str]) -> list[pa.Field]:
    """Return one nullable string column for each group column of a study."""
    return [
        make_field(
            GROUP_PREFIX + name,
            pa.string(),
            f"column {name} of the study, used for grouping in reports",
            nullable=True,
        )
        for name in groups
    ]


QUERY_POSITION: Final = make_field("query", pa.uint32(), "position in the query table")
TRAIN_POSITION: Final = make_field("train", pa.uint32(), "position in the train table")
