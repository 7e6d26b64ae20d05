"""Training tables of stored runs, and the later one with the change of one group reverted."""

from collections.abc import Mapping, Sequence

import polars as pl

from fastif import InputError
from storage import Store
from storage.matching import EDITED, RELABELLED
from tasks.bisection.change_groups import ADDED, REMOVED, ChangeGroup
from tasks.data.dataset import Table


def read_stored_table(
    store: Store, run: str, table: str, labels: Sequence[str], renamed: Mapping[str, str]
) -> Table:
    """Return the rows of a run as a table to train on, without groups.

    Args:
        store: Store of the study.
        run: Name of the run.
        table: "train" or "queries".
        labels: Names of the labels in the order of the model's outputs.
        renamed: New name by old name of labels that were renamed since.

    Raises:
        InputError: A row has a label that is not among `labels`.
    """
    key = "train" if table == "train" else "query"
    rows = store.scan(table, run).sort(key).select("id", "text", "text_pair", "label").collect()
    names = rows["label"].replace(dict(renamed))
    if unknown := sorted(set(names) - set(labels)):
        got = ", ".join(unknown)
        remedy = "Restore the labels of that run in the study."
        raise InputError(f"run {run}, labels", ", ".join(labels), got, remedy)
    positions = {label: position for position, label in enumerate(labels)}
    pairs = None if rows["text_pair"].null_count() == len(rows) else rows["text_pair"].to_list()
    label_ids = [positions[name] for name in names]
    place = f"run {run}"
    return Table(rows["id"].to_list(), rows["text"].to_list(), pairs, label_ids, {}, "", place)


def revert_group(later: Table, earlier: Table, group: ChangeGroup) -> Table:
    """Return the later table as it would be without the change of a group.

    Added rows are dropped, removed ones are appended, and relabelled and edited ones have their
    earlier label and texts at their place.

    Args:
        later: Training table of the later run.
        earlier: Training table of the earlier run, with the label positions of the later one.
        group: Group of changed rows, by positions in both.
    """
    if group.kind == ADDED:
        added = set(group.after)
        return later.take([row for row in range(len(later)) if row not in added])
    rows = _list_rows(later)
    if group.kind == REMOVED:
        rows = pl.concat([rows, _list_rows(earlier)[list(group.before)]])
    if group.kind in (RELABELLED, EDITED):
        previous = _list_rows(earlier)[list(group.before)]
        places = pl.Series(group.after, dtype=pl.UInt32)
        rows = (
            rows.with_row_index("place")
            .update(previous.with_columns(place=places), on="place", include_nulls=True)
            .drop("place")
        )
    pairs = None if later.text_pairs is None else rows["pair"].to_list()
    ids, texts, labels = (rows[name].to_list() for name in ("id", "text", "label"))
    return Table(ids, texts, pairs, labels, {}, "", later.place)


def _list_rows(table: Table) -> pl.DataFrame:
    pairs = table.text_pairs or [None] * len(table)
    columns = {"id": table.ids, "text": table.texts, "pair": pairs, "label": table.labels}
    types = {"id": pl.String, "text": pl.String, "pair": pl.String, "label": pl.Int64}
    return pl.DataFrame(columns, schema=types)
