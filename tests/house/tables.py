"""The page of tables: every column of the store with type, unit and meaning, from the schemas."""

import pyarrow as pa

from storage.schemas import KEYS, table_schema
from tests.house.prose import ROOT

PAGE = ROOT / "docs" / "reference" / "tables.md"
HEAD = """# Tables of the store

Every column of every table, written from the schemas by `python -m tests.house write`. Each Parquet
file also carries these texts in its metadata. Files on disk: [store](../guides/store.md);
how to query them: [queries](../guides/queries.md).
"""
MEANINGS = {
    "scores": "One row a query and a scored training example.",
    "solves": "One row a query: how its equation was solved, and how far to trust its scores.",
    "queries": "One row a query: what was predicted. With one column `group_<name>` a group.",
    "totals": "One row a training example and slice of queries: summed effects of a full scan.",
    "train": "One row a training example. With one column `group_<name>` a group.",
    "runs": "One row a run.",
    "mislabels": "One row a training example: how probably its label is wrong, and which is right.",
    "verdicts": "One row a reviewed training example and reviewer.",
}


def render_page() -> str:
    """The page as Markdown."""
    return HEAD + "".join(_render_table(name, table_schema(name)) for name in MEANINGS)


def _render_table(name: str, schema: pa.Schema) -> str:
    key = ", ".join(f"`{column}`" for column in KEYS[name])
    lines = [f"\n## `{name}`\n", f"{MEANINGS[name]} Key: {key}.\n"]
    lines += ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    lines += [_render_field(field) for field in schema]
    return "\n".join(lines) + "\n"


def _render_field(field: pa.Field) -> str:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    cells = [f"`{field.name}`", str(field.type), metadata.get("unit", ""), metadata["description"]]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
