"""Search for wrong targets of a study: from its training table to a ranked table in the store."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fastif.mislabels.audit_sample import AuditedRows
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.label_set_errors import NEIGHBOURS, LabelSetData, LabelSetDetector
from fastif.mislabels.labeled_data import NOT_REVIEWED
from fastif.mislabels.outlying_targets import NumberData, OutlierDetector
from fastif.mislabels.random_audit import CountEstimate, RandomAudit
from storage import Store, polars_schema
from storage.parquet import write_table
from storage.target_schemas import WRONG_TARGETS
from tasks.data.near_duplicates import group_near_duplicates, number_contents
from tasks.data.row_hashes import content_digests
from tasks.mislabels.detect import make_views, sort_by_digest
from tasks.mislabels.random_sample import select_random_sample
from tasks.run.spec import resolve_store_path
from tasks.runtime.progress import progress_bar
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.stored_searches import (
    FACTS,
    KIND,
    digest_contents,
    next_search_number,
)
from tasks.wrong_targets.target_plan import TargetPlan, read_target_plan

LABEL_GROUP = "label"
"""Group column of random audit samples, with the name of each cell's output."""


@dataclass(frozen=True, eq=False)
class SearchedRows:
    """Rows of a search in the order of their content, so that the table's order does not matter.

    Attributes:
        order: Position in the table of each row.
        features: Features, [n, d].
        neighbour_ids: Positions of each row's nearest rows, [n, k].
        groups: Group of each row; near-duplicates share one.
        contents: Number of the content of each row; None where features do not decide the target.
        given: Given targets, [n, c].
        known: Reviewed targets, NaN for the other cells, [n, c].
        audited: Random audit samples of the cells; None without one.
    """

    order: Tensor
    features: Tensor
    neighbour_ids: Tensor
    groups: Tensor
    contents: Tensor | None
    given: Tensor
    known: Tensor
    audited: AuditedRows | None


def search_wrong_targets(path: Path) -> str:
    """Rank the cells of a study by how doubtful their targets are; return the table's digest.

    Args:
        path: Study file.
    """
    plan = read_target_plan(path)
    store = Store.open(resolve_store_path(plan.study), plan.study.name)
    if store.find_artifact(KIND, plan.digest) is not None:
        return plan.digest
    start = time.monotonic()
    number = next_search_number(store)  # a damaged search is reported before the work
    rows = _read_rows(store, plan)
    search = _search_labels if plan.study.target == MULTI_LABEL else _search_numbers
    columns, facts = search(plan, rows)
    table = _make_table(plan, rows, columns)
    facts |= {
        "study": plan.study.name,
        "target": plan.study.target,
        "rows": len(plan.inputs.train),
        "names": list(plan.study.labels),
        "contents": digest_contents(content_digests(plan.inputs.train)),
        "number": number,
        "created": datetime.now(UTC).isoformat(),
        "seconds": time.monotonic() - start,
    }

    def write(folder: Path) -> None:
        write_table(folder, "wrong_targets", table)
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    store.write_artifact(KIND, plan.digest, write)
    return plan.digest


def _read_rows(store: Store, plan: TargetPlan) -> SearchedRows:
    cells, c = plan.cells, len(plan.study.labels)
    digests = [b"".join(row) for row in cells["row"].reshape((-1, c)).to_list()]
    order = sort_by_digest(digests)
    table = plan.inputs.train.take(order.tolist())
    views = make_views(store, plan.detection, [table])
    features = views.concat_weighted(views.weight_options[0])
    with progress_bar("targets: nearest rows", len(features), "rows") as advance:
        neighbour_ids = find_neighbours(features, NEIGHBOURS, advance)
    known = [
        float(right) if is_known and right is not None else np.nan
        for is_known, right in (
            plan.annotations.find_right_label(*cell)
            for cell in cells.select("row", "content", "value").iter_rows()
        )
    ]
    return SearchedRows(
        order,
        features,
        neighbour_ids,
        group_near_duplicates(table, neighbour_ids),
        number_contents(table),
        torch.from_numpy(cells["given"].to_numpy().reshape(-1, c).copy())[order],
        torch.tensor(known, dtype=torch.float64).view(-1, c)[order],
        _locate_sample(plan, order),
    )


def _locate_sample(plan: TargetPlan, order: Tensor) -> AuditedRows | None:
    """Return the random audit samples of the cells, with the output of each as its label."""
    c = len(plan.study.labels)
    ids = (order[:, None] * c + torch.arange(c)).flatten()
    cells = plan.cells[ids.tolist()]
    digests = cells["row"].to_list()
    sample = select_random_sample(plan.annotations, digests)
    if sample is None:
        return None
    names = sample.list_group_values(LABEL_GROUP) or []
    positions = {name: place for place, name in enumerate(plan.study.labels)}
    located = sample.locate_rows(digests, cells["content"].to_list(), ())
    labels = torch.tensor([positions.get(str(name), -1) for name in names])
    return replace(located, label=labels)


def _search_labels(plan: TargetPlan, rows: SearchedRows) -> tuple[dict[str, Tensor], dict]:
    names = plan.study.labels
    known = rows.known.nan_to_num(float(NOT_REVIEWED)).long()
    data = LabelSetData(
        rows.features,
        rows.given.long(),
        rows.groups,
        known,
        rows.contents,
        rows.audited,
    )
    with progress_bar("targets: labels", len(names), "labels") as advance:
        errors = LabelSetDetector()(data, rows.neighbour_ids, advance)
    informed = torch.tensor(
        [j not in errors.uninformed and j not in errors.rare for j in range(len(names))]
    )
    columns = {
        "score": errors.probability,
        "doubt": errors.prior_error,
        "suggested": 1 - rows.given,
        "row_score": errors.row_probability[:, None].expand_as(rows.given),
        "informed": informed.expand(len(rows.given), -1),
    }
    facts = {
        "rare": {names[j]: list(counts) for j, counts in errors.rare.items()},
        "uninformed": [names[j] for j in errors.uninformed],
        "counts": _name_counts(names, errors.audited_counts),
    }
    return columns, facts


def _search_numbers(plan: TargetPlan, rows: SearchedRows) -> tuple[dict[str, Tensor], dict]:
    names, detector, results = plan.study.labels, OutlierDetector(), []
    with progress_bar("targets: columns", len(names), "columns") as advance:
        for j in range(len(names)):
            data = NumberData(rows.features, rows.given[:, j], rows.groups, rows.known[:, j])
            results.append(detector(data, rows.neighbour_ids))
            advance(1)
    same = ("strength", "low", "high", "self_influence", "score")
    columns = {name: torch.stack([getattr(r, name) for r in results], 1) for name in same}
    columns["doubt"] = torch.stack([result.prior_score for result in results], 1)
    columns["suggested"] = torch.stack(
        [_round(result.predicted, rows.given[:, j]) for j, result in enumerate(results)], 1
    )
    informed = torch.tensor([result.informed for result in results])
    columns["informed"] = informed.expand(len(rows.given), -1)
    audit = _make_audit(rows, columns["doubt"])
    estimates = audit and tuple(audit.estimate_errors(j) for j in (*range(len(names)), None))
    facts = {
        "skill": {name: r.skill for name, r in zip(names, results, strict=True)},
        "uninformed": [n for n, r in zip(names, results, strict=True) if not r.informed],
        "counts": _name_counts(names, estimates),
    }
    return columns, facts


def _round(predicted: Tensor, given: Tensor) -> Tensor:
    """Round suggestions to whole numbers where all targets are whole, such as counts or stars."""
    is_whole = bool((given == given.round()).all())
    return predicted.round().clamp(given.min(), given.max()) if is_whole else predicted


def _make_audit(rows: SearchedRows, doubt: Tensor) -> RandomAudit | None:
    if rows.audited is None or not rows.audited.has_enough:
        return None
    n, c = rows.given.shape
    reviewed = ~rows.known.isnan()
    return RandomAudit(
        rows.audited,
        torch.arange(c).repeat(n),
        doubt.flatten(),
        reviewed.flatten(),
        (reviewed & (rows.known != rows.given)).flatten(),
    )


def _name_counts(
    names: tuple[str, ...], counts: tuple[CountEstimate, ...] | None
) -> dict[str, Any] | None:
    """Estimated number of wrong targets by name, and of all under an empty name."""
    if counts is None:
        return None
    return {name: asdict(count) for name, count in zip((*names, ""), counts, strict=True)}


def _make_table(
    plan: TargetPlan, rows: SearchedRows, columns: Mapping[str, Tensor]
) -> pl.DataFrame:
    """Return the table of a search, row by row in the order of the training table."""
    inverse = rows.order.argsort()
    cells = plan.cells.select("train", "output", "id", "name", "given")
    frame = cells.with_columns(
        pl.Series(name, values[inverse].flatten().contiguous().numpy())
        for name, values in columns.items()
    ).with_columns(reviewed=pl.Series(rows.known[inverse].flatten().numpy()))
    schema = polars_schema(WRONG_TARGETS)
    floats = [name for name in ("score", "doubt", "reviewed") if name in frame.columns]
    frame = frame.with_columns(pl.col(floats).fill_nan(None))
    missing = {name: pl.lit(None) for name in schema if name not in frame.columns}
    frame = frame.with_columns(**missing)
    key = (
        pl.col("reviewed").is_not_null(),
        ~pl.col("informed"),
        pl.col("score").fill_null(-1),
        pl.col("strength").cast(pl.Float64).fill_null(0),
    )
    falls = [False, False, True, True, False]
    ranks = frame.with_row_index("place").sort(*key, "place", descending=falls)["place"]
    rank = np.empty(len(frame), dtype=np.uint32)
    rank[ranks.to_numpy()] = np.arange(len(frame), dtype=np.uint32)
    frame = frame.with_columns(rank=pl.Series(rank))
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
