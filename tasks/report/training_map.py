"""Map of training rows in two dimensions, in the form that the page's script reads."""

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from markupsafe import Markup

from tasks.mislabels.informed_ranking import is_informed
from tasks.mislabels.strength import name_score
from tasks.report.formatting import shorten_text
from tasks.report.projection import encode_array, project_principal, quantize
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import TfidfSpace
from tasks.results.group_names import format_group_value

MAX_POINTS, MAX_BYTES = 5000, 240_000
EXCERPTS = (200, 140, 100, 75, 55, 40, 30, 20, 10)
"""Numbers of characters of a text, of which the largest that fits `MAX_BYTES` is used; no text if
none fits, as with thousands of random characters."""
MAX_NAMES, MAX_NAME_CHARS = 255, 40
"""Largest number of classes or sources with a name on the map, and of characters of a name."""
UNKNOWN = 255
"""Code of a row whose strength is not known, and of a value without a name."""
STRENGTH_STEPS = 254
EFFECT_STEPS = 32767


@dataclass(frozen=True, eq=False)
class TrainingMap:
    """Training rows by the first two principal components of their features.

    Attributes:
        points: Number of rows on the map.
        rows: Number of training rows.
        unembedded: Number of rows that are left out, since the store has no embedding of them.
        encoder: First digits of the encoder's digest; None if tf-idf vectors are used.
        share: Share of the variance of the features that the two components have.
        colourings: Names of the columns that colour the points, by key.
        data: JSON for the script, safe in an HTML element `script`.
    """

    points: int
    rows: int
    unembedded: int
    encoder: str | None
    share: float
    colourings: dict[str, str]
    data: Markup


def make_training_map(
    data: RunData, space: TfidfSpace, listed: Collection[int], limit: int = MAX_POINTS
) -> TrainingMap:
    """Project training rows on two principal components of the encoder's features.

    Without stored embeddings the tf-idf vectors of the rows are used.

    Args:
        data: Data of the run.
        space: Tf-idf vectors of the rows.
        listed: Positions of training rows in tables of the page, which are on the map.
        limit: Largest number of rows on the map.
    """
    features = data.features
    is_usable = np.ones(len(data.train), bool) if features is None else features.is_stored
    rows = select_rows(is_usable, listed, limit)
    vectors = space.train[rows] if features is None else features.read(rows.tolist())
    scores, share = project_principal(vectors.numpy())
    colours = _encode_colours(data, rows)
    content = {
        "points": encode_array(quantize(scores)),
        "rows": encode_array(data.train["train"].to_numpy()[rows].astype(np.uint32)),
        **{key: column for key, (_, column) in colours.items()},
    }
    return TrainingMap(
        len(rows),
        len(data.train),
        int((~is_usable).sum()),
        features and features.encoder,
        share,
        {key: name for key, (name, _) in colours.items()},
        _render_content(content, data.train[rows.tolist()]),
    )


def select_rows(
    is_usable: Bool[np.ndarray, " n"], listed: Collection[int], limit: int
) -> Int[np.ndarray, " m"]:
    """Select the rows of a map: all listed rows, and a random sample of the others.

    The sample has a fixed seed, so that the map of a run is reproducible.

    Args:
        is_usable: Whether a row has features, [n].
        listed: Positions of rows that are selected before any other.
        limit: Largest number of rows.

    Returns:
        Positions in ascending order.

    Examples:
        >>> set(select_rows(np.ones(9, bool), [8, 2], 3).tolist()) >= {2, 8}
        True
    """
    is_first = np.zeros(len(is_usable), bool)
    is_first[list(listed)] = True
    first = np.flatnonzero(is_usable & is_first)[:limit]
    others = np.flatnonzero(is_usable & ~is_first)
    room = min(limit - len(first), len(others))
    sample = np.random.default_rng(0).choice(others, room, replace=False)
    return np.sort(np.concatenate([first, sample]))


def _encode_colours(
    data: RunData, rows: Int[np.ndarray, " m"]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Encode the columns that colour the points, with their names, by key."""
    colours = {"label": ("label", _encode_names(data.train[data.label_column], rows))}
    strength = _read_strength(data)
    if strength is not None:
        name, values = strength
        colours["strength"] = (name, {"codes": encode_array(_quantize_strength(values[rows]))})
    effects = _encode_effects(_sum_effects(data)[rows]) | {"unit": data.unit}
    colours["effect"] = ("summed effect", effects)
    if data.source_column != data.label_column:
        name = shorten_text(data.source_column.removeprefix("group_").replace("_", " "), 40)
        colours["source"] = (name, _encode_names(data.train[data.source_column], rows))
    return colours


def _encode_names(values: pl.Series, rows: Int[np.ndarray, " m"]) -> dict[str, Any]:
    """Encode values by their rank in the order of frequency among all training rows."""
    counts = values.to_frame("value").group_by("value").len()
    names = counts.sort(-pl.col("len").cast(int), "value")["value"].head(MAX_NAMES).to_list()
    codes = {name: code for code, name in enumerate(names)}
    shown = [codes.get(value, UNKNOWN) for value in values[rows.tolist()]]
    words = [shorten_text(format_group_value(name), MAX_NAME_CHARS) for name in names]
    return {"codes": encode_array(np.array(shown, np.uint8)), "names": words}


def _sum_effects(data: RunData) -> Float[np.ndarray, " n"]:
    """Effect of each training row, summed over all queries if totals were kept, in nats."""
    if not len(data.totals):
        return data.harm["effect"].to_numpy()
    sums = data.totals.group_by("train").agg(effect=pl.col("removal_effect").sum())
    rows = data.train.select("train").join(sums, on="train", how="left", maintain_order="left")
    return rows["effect"].fill_null(0.0).to_numpy()


def _encode_effects(effects: Float[np.ndarray, " m"]) -> dict[str, Any]:
    """Round effects to 16-bit shares of the largest absolute one.

    The colours end at the 95th percentile of the absolute effects.
    """
    sizes = np.abs(effects)
    largest = float(sizes.max(initial=0.0)) or 1.0
    end = float(np.quantile(sizes, 0.95)) if len(sizes) else 0.0
    codes = np.rint(effects / largest * EFFECT_STEPS).astype(np.int16)
    return {"codes": encode_array(codes), "largest": largest, "end": end or largest}


def _read_strength(data: RunData) -> tuple[str, Float[np.ndarray, " n"]] | None:
    """Name and values of the evidence of a wrong label; None without an informed detection."""
    result = data.mislabels
    if result is None or not is_informed(result.facts):
        return None
    table = result.table.select("train", strength=pl.col("probability").cast(pl.Float64))
    rows = data.train.select("train").join(table, on="train", how="left", maintain_order="left")
    return name_score(result.facts), rows["strength"].fill_null(float("nan")).to_numpy()


def _quantize_strength(values: Float[np.ndarray, " m"]) -> np.ndarray:
    codes = np.rint(np.nan_to_num(values) * STRENGTH_STEPS)
    return np.where(np.isnan(values), UNKNOWN, codes).astype(np.uint8)


def _render_content(content: dict[str, Any], rows: pl.DataFrame) -> Markup:
    """Render the content with ids and the longest excerpts of texts that fit the page."""
    rendered = _dump_json(content)
    room = MAX_BYTES - len(rendered.encode())
    longest = float(EXCERPTS[0])
    for chars in EXCERPTS:
        if chars > longest:
            continue
        ids = [shorten_text(name, min(chars, MAX_NAME_CHARS)) for name in rows["id"]]
        excerpts = _compress_json([ids, _shorten_texts(rows, chars)])
        if len(excerpts) + len(',"excerpts":""') <= room:
            rendered = _dump_json(content | {"excerpts": excerpts})
            break
        longest = 1.2 * chars * room / len(excerpts)  # longer ones cannot fit either
    return Markup(rendered)


def _compress_json(content: object) -> str:
    packed = zlib.compress(json.dumps(content, ensure_ascii=False).encode())
    return encode_array(np.frombuffer(packed, np.uint8))


def _shorten_texts(rows: pl.DataFrame, chars: int) -> list[str]:
    pairs = zip(rows["text"], rows["text_pair"], strict=True)
    return [
        shorten_text(text, chars)
        if second is None
        else f"{shorten_text(text, chars // 2)} → {shorten_text(second, chars // 2)}"
        for text, second in pairs
    ]


def _dump_json(content: dict[str, Any]) -> str:
    """Render JSON that no HTML parser takes for markup."""
    rendered = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        rendered = rendered.replace(character, f"\\u{ord(character):04x}")
    return rendered


def list_shown_rows(tables: Sequence[Sequence[dict[str, Any]]]) -> set[int]:
    """Positions of the training rows in tables of the page.

    Examples:
        >>> sorted(list_shown_rows([[{"train": 3}, {"train": None}], [{"train": 1}, {}]]))
        [1, 3]
    """
    positions = (row.get("train") for table in tables for row in table)
    return {position for position in positions if position is not None}
