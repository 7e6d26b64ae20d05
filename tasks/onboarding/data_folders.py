"""Data sets that are no single file: saved by the `datasets` library, shards, on the hub."""

import re
from pathlib import Path

from tasks.data.image_files import is_image_folder

SAVED = ("state.json", "dataset_dict.json")
"""Files that `save_to_disk` of the `datasets` library writes."""
SHARD_SUFFIXES = ("parquet", "arrow", "feather", "csv", "tsv", "jsonl", "ndjson")


def describe_data_folder(path: Path) -> str:
    """Describe a folder that holds one data set in several files; empty for others.

    Shards are two or more table files whose names differ in numbers only.

    Args:
        path: Folder that may be a data set.
    """
    if not path.is_dir():
        return ""
    if any((path / name).is_file() for name in SAVED):
        return "a data set that save_to_disk wrote"
    return "shards of a table" if find_shards(path) else ""


def is_data_folder(path: Path) -> bool:
    """Whether a folder is a data set, not a place for a new study: shards, or folders of images."""
    if describe_data_folder(path):
        return True
    names = [each for each in path.glob("*") if not each.name.startswith(".")]
    return all(each.is_dir() for each in names) and is_image_folder(path)


def find_shards(path: Path) -> str:
    """Return the pattern of the shards of a table in a folder; empty if there are none.

    >>> find_shards(Path("/nowhere"))
    ''
    """
    suffixes = "|".join(SHARD_SUFFIXES)
    names = [file.name for file in path.glob("*") if re.fullmatch(rf".+\.({suffixes})", file.name)]
    patterns = [re.sub(r"\d+", "*", name) for name in names]
    return next((pattern for pattern in patterns if patterns.count(pattern) > 1), "")


def make_remedy(path: Path) -> str:
    """Return the line of Python that saves such a folder as one file of a table."""
    if pattern := find_shards(path):
        suffix = pattern.rpartition(".")[2]
        scan = {"jsonl": "ndjson", "tsv": "csv", "arrow": "ipc", "feather": "ipc"}
        keys = ", separator=chr(9)" if suffix == "tsv" else ""
        source = str(path / pattern)
        code = f"import polars; polars.scan_{scan.get(suffix, suffix)}({source!r}{keys})"
        code += ".sink_parquet('train.parquet')"
    else:
        split = "['train']" if (path / SAVED[1]).is_file() else ""
        code = f"import datasets; datasets.load_from_disk({str(path)!r}){split}"
        code += ".to_parquet('train.parquet')"
    return f'Save it as one file: python -c "{code}"'


def make_hub_remedy(name: str) -> str:
    """Return the line of Python that saves a data set of the hub as the file of a table."""
    code = f"import datasets; datasets.load_dataset({name!r}, split='train')"
    return f"A data set of the hub: python -c \"{code}.to_parquet('train.parquet')\""
