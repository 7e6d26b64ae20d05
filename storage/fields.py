"""What stands in every Parquet file: described columns, the format, the convention of signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

FORMAT: Final = "2"
"""1 had no certificates, no quarantine and no models: its columns are a part of these."""

CONVENTION: Final = (
    "removal_effect is the predicted change of the query's loss, in nats, if the training example "
    "were removed and the model retrained: (1/n) * grad L(query)^T (H + damping I)^-1 "
    "grad L(train); positive = the loss would rise = the training example is helpful, "
    "negative = the loss would fall = it is harmful."
)
GROUP_PREFIX: Final = "group_"


def make_field(
    name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = False
) -> pa.Field:
    """A column with its meaning and unit; no nulls unless `nullable`."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def make_schema(table: str, fields: Iterable[pa.Field]) -> pa.Schema:
    """Columns with the format, the name of their table and the convention."""
    metadata = {
        "fastif.format": FORMAT,
        "fastif.table": table,
        "fastif.convention": CONVENTION,
    }
    return pa.schema(list(fields), metadata=metadata)


def make_group_fields(groups: Sequence[str]) -> list[pa.Field]:
    """One nullable column for each of the study's groups."""
    return [
        make_field(
            GROUP_PREFIX + name,
            pa.string(),
            f"study column {name}, by which reports group",
            nullable=True,
        )
        for name in groups
    ]


QUERY_POSITION: Final = make_field("query", pa.uint32(), "position in the query table")
TRAIN_POSITION: Final = make_field("train", pa.uint32(), "position in the train table")
