"""Matrix of effects from a file of any origin, refused by name unless it is complete.

Formats: Parquet in long form (query_id, train_id, effect) or wide (query_id and a column for each
training row), .npy, and .safetensors with one tensor; the last two have the shape [q n] in the
order of the published ids.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fastif.errors import InputError

LONG = ("query_id", "train_id", "effect")
TRANSPOSED = "Transpose the matrix: queries are rows, training rows are columns."


def read_effects(
    path: Path, query_ids: Sequence[str], train_ids: Sequence[str]
) -> Float[Tensor, "q n"]:
    """Return the effects of all pairs, in the order of the ids.

    Raises:
        InputError: The file has another format, or pairs are missing, twice there, unknown,
            transposed, or not finite numbers.
    """
    readers = {".npy": _read_numpy, ".safetensors": _read_safetensors, ".parquet": None}
    if path.suffix not in readers or not path.is_file():
        raise InputError(
            str(path),
            "a file .parquet, .npy or .safetensors",
            "no such file" if not path.is_file() else f"a file {path.suffix or 'without suffix'}",
            "Write effects as Parquet with the columns query_id, train_id, effect.",
        )
    reader = readers[path.suffix]
    if reader is None:
        effects = _read_parquet(path, query_ids, train_ids)
    else:
        effects = reader(path)
        _check_shape(path, tuple(effects.shape), len(query_ids), len(train_ids))
    _check_finite(path, effects, query_ids, train_ids)
    return effects


def _read_numpy(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not np.issubdtype(array.dtype, np.floating) and not np.issubdtype(array.dtype, np.integer):
        raise InputError(str(path), "real numbers", f"{array.dtype}", "Write them as float32.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _read_safetensors(path: Path) -> Tensor:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise _unreadable(path, error) from error
    if len(tensors) != 1:
        raise InputError(
            str(path), "one tensor", f"{len(tensors)}: {', '.join(sorted(tensors))}", "Keep one."
        )
    return next(iter(tensors.values())).double()


def _read_parquet(path: Path, query_ids: Sequence[str], train_ids: Sequence[str]) -> Tensor:
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, error) from error
    if "query_id" not in frame.columns:
        raise InputError(
            str(path),
            "the columns query_id, train_id, effect, or query_id and one for each training row",
            ", ".join(frame.columns[:5]),
            "Rename the columns.",
        )
    if "train_id" not in frame.columns:
        frame = frame.unpivot(index="query_id", variable_name="train_id", value_name="effect")
    if "effect" not in frame.columns:
        raise InputError(
            str(path), "the column effect", ", ".join(frame.columns[:5]), "Rename the column."
        )
    if not frame["effect"].dtype.is_numeric():
        raise InputError(
            f"{path}, effect", "real numbers", f"{frame['effect'].dtype}", "Write them as float32."
        )
    return _order_pairs(path, frame.select(LONG), query_ids, train_ids)


def _order_pairs(
    path: Path, frame: pl.DataFrame, query_ids: Sequence[str], train_ids: Sequence[str]
) -> Tensor:
    """Return the matrix of a long table with every pair once."""
    frame = frame.with_columns(pl.col("query_id", "train_id").cast(pl.String))
    _check_ids(path, frame, query_ids, train_ids)
    twice = frame.filter(pl.struct("query_id", "train_id").is_duplicated())
    if len(twice):
        query, row = twice.row(0)[:2]
        raise InputError(
            str(path),
            "every pair once",
            f"{len(twice):,} rows of pairs that are there twice, such as {query!r}, {row!r}",
            "Remove the duplicates.",
        )
    count = len(query_ids) * len(train_ids)
    places = [
        pl.DataFrame({name: ids, f"{name}_place": range(len(ids))})
        for name, ids in (("query_id", query_ids), ("train_id", train_ids))
    ]
    ordered = frame.join(places[0], on="query_id").join(places[1], on="train_id")
    if len(ordered) != count:
        raise InputError(
            str(path),
            f"{count:,} pairs of {len(query_ids)} queries and {len(train_ids):,} training rows",
            f"{len(ordered):,}, {_describe_missing(ordered, query_ids, train_ids)}",
            "Add the missing pairs; the effect of a row that was not scored is a number too.",
        )
    ordered = ordered.sort("query_id_place", "train_id_place")
    effects = ordered["effect"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return torch.from_numpy(effects.copy()).view(len(query_ids), len(train_ids))


def _check_ids(
    path: Path, frame: pl.DataFrame, query_ids: Sequence[str], train_ids: Sequence[str]
) -> None:
    given = [set(frame[name].unique()) for name in LONG[:2]]
    known = [set(query_ids), set(train_ids)]
    if given[0] != known[0] and given[0] <= known[1] and given[1] <= known[0]:
        raise InputError(str(path), "queries in query_id", "training rows", TRANSPOSED)
    for name, ids, expected in zip(LONG[:2], given, known, strict=True):
        unknown = sorted(map(str, ids - expected))
        if unknown:
            raise InputError(
                f"{path}, {name}",
                f"ids of the workload, such as {min(expected)!r}",
                f"{len(unknown):,} others, such as {unknown[0]!r}",
                "Take the ids of queries.parquet and train.parquet of the published truth.",
            )


def _describe_missing(
    ordered: pl.DataFrame, query_ids: Sequence[str], train_ids: Sequence[str]
) -> str:
    for name, ids in (("query_id", query_ids), ("train_id", train_ids)):
        absent = sorted(set(ids) - set(ordered[name]))
        if absent:
            return f"without {name} {absent[0]!r} and {len(absent) - 1:,} more"
    present = set(ordered.select("query_id", "train_id").rows())
    query, row = next((q, t) for q in query_ids for t in train_ids if (q, t) not in present)
    return f"without {query!r}, {row!r}"


def _check_shape(path: Path, shape: tuple[int, ...], queries: int, rows: int) -> None:
    if shape != (queries, rows):
        is_transposed = shape == (rows, queries)
        raise InputError(
            str(path),
            f"the shape [{queries}, {rows}] of queries and training rows",
            str(list(shape)),
            TRANSPOSED if is_transposed else "Score every training row for every query.",
        )


def _check_finite(
    path: Path, effects: Tensor, query_ids: Sequence[str], train_ids: Sequence[str]
) -> None:
    wrong = torch.nonzero(~torch.isfinite(effects))
    if len(wrong):
        query, row = wrong[0].tolist()
        raise InputError(
            str(path),
            "finite effects",
            f"{len(wrong):,} that are not, first {query_ids[query]!r}, {train_ids[row]!r}",
            "Find out why the method returned no number.",
        )


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return InputError(str(path), f"a readable file {path.suffix}", reason, "Write it again.")
