"""A store as one JSON document: every file of it, without what depends on time and machine.

`BITS` marks what only `check --exact` compares: digests of floats and of files.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from tests.golden.rounding import BITS, digest, round_floats
from tests.golden.table import table
from tests.golden.volatile import mask_volatile

HEX = re.compile(r"[0-9a-f]{32}\.parquet")
LONG = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")
"""A digest, of which sixteen digits will do."""
OF_VERSIONS = ("hidden",)
"""Kinds of parts whose names depend on versions of libraries."""
OF_TIMES = ("verdicts",)
"""Those whose names depend on the time."""
OF_FLOATS = ("candidates", "factor", "index", "sketcher", "asked", "sketches", "sketchers")
"""Those whose names depend on a damping, which is a float of this machine where it is chosen."""

FAMILIES = "sketchers"
"""The kind of which each folder is named by a digest that names nothing else."""


def snapshot(store: Path, chosen: bool) -> dict[str, Any]:
    """Every file of a store by its path, and the schemas of its tables by names of their own.

    Args:
        store: its folder.
        chosen: whether dampings are chosen; then names that depend on them are for `--exact`.
    """
    files = dict(_entries(store))
    names = dict(_aliases(store, (*OF_VERSIONS, *OF_TIMES, *(OF_FLOATS if chosen else ()))))
    text = json.dumps(files)
    for name, alias in names.items():
        text = text.replace(name, alias).replace(name[:16], alias)
    files = dict(sorted(json.loads(LONG.sub(r"\1", text)).items()))
    schemas = _schemas_apart(files)
    known = {
        alias: name[:16] for name, alias in names.items() if alias[1:].split()[0] not in OF_TIMES
    }
    return {"schemas": schemas, "files": _deduplicate(files), BITS: known}


def _entries(store: Path) -> Iterator[tuple[str, Any]]:
    for folder in sorted(store.glob("tables/*/*")):
        yield folder.relative_to(store).as_posix(), _shards(folder)
    for path in sorted(store.rglob("*")):
        place = path.relative_to(store).as_posix()
        if path.is_file() and not place.startswith("tables/"):
            yield place, _entry(path)


def _shards(folder: Path) -> dict[str, Any]:
    """The table of a run, one shard after the other."""
    files = sorted(folder.rglob("*.parquet"), key=lambda path: path.parent.name)
    counts = [path.parent.name for path in files]
    return {"shards": counts, **table(files)}


def _aliases(store: Path, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Digests that are no constants, and what stands for them: kind and order of making."""
    known: dict[str, list[str]] = {}
    for folder in sorted(store.glob("parts/*"), key=lambda path: (len(path.name), path.name)):
        kind = folder.name.partition("-")[0]
        made = sorted(folder.glob("*/part.json"), key=lambda path: path.stat().st_mtime_ns)
        digests = [path.parent.name for path in made]
        if kind == FAMILIES:
            digests.append(folder.name.partition("-")[2])
        for name in digests if kind in kinds else ():
            others = known.setdefault(kind, [])
            if not any(name in of for of in known.values()):
                others.append(name)
                yield name, f"<{kind} {len(others) - 1}>"


def _schemas_apart(files: dict[str, Any]) -> dict[str, Any]:
    """Each schema of a table once; the tables keep its name, which is the same in every store."""
    document = {}
    for place, entry in files.items():
        if "schema" in entry:
            parts = place.split("/")
            name = parts[1] if parts[0] == "tables" else parts[-1].partition(".")[0]
            name += f" {digest(json.dumps(entry['schema']))[:4]}"
            document[name], entry["schema"] = entry["schema"], name
    return dict(sorted(document.items()))


def _deduplicate(files: dict[str, Any]) -> dict[str, Any]:
    """What is in two places is written at the first of them."""
    first: dict[str, str] = {}
    document = {}
    for place, entry in files.items():
        known = first.setdefault(json.dumps(entry), place)
        document[place] = entry if known == place else {"as": known}
    return document


def _entry(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return _json(path)
    if path.suffix == ".parquet":
        return table([path])
    if path.suffix == ".safetensors":
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return {"tensors": {name: _array(of) for name, of in arrays.items()}}
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {"arrays": {name: _array(arrays[name]) for name in sorted(arrays)}}
    data = path.read_bytes()
    return {"size": len(data), BITS: digest(data)}


def _json(path: Path) -> dict[str, Any]:
    known = json.loads(path.read_bytes())
    if path.name == "part.json":  # sizes of files that hold times
        known["files"] = sorted(known["files"])
    content = _without_names(mask_volatile(known))
    short = round_floats(content)
    return {"json": short} | ({BITS: digest(json.dumps(content))} if short != content else {})


def _without_names(value: Any) -> Any:
    """Without the digests by which a commit names its files."""
    if isinstance(value, dict):
        return {name: _without_names(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_names(inner) for inner in value]
    return HEX.sub("*.parquet", value) if isinstance(value, str) else value


def _array(values: np.ndarray) -> list[Any]:
    return [f"{values.dtype}", list(values.shape), {BITS: digest(values.tobytes())}]
