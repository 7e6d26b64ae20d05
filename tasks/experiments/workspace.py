"""Folder, data, scale and cached steps of an experiment."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif import InputError
from storage.atomic import commit_file, write_bytes

Scale = Literal["small", "full"]
DATA = "FASTIF_DATA"


@dataclass(frozen=True)
class Workspace:
    """Workspace of one experiment at one scale.

    Attributes:
        folder: Folder of the cached steps and of the result.
        scale: Size of the experiment, "small" or "full".
        data: Folder of the public data sets; None if there is none.
    """

    folder: Path
    scale: Scale
    data: Path | None

    def select_size(self, small: int, full: int) -> int:
        """Return one of two numbers, by the scale."""
        return small if self.scale == "small" else full

    def read_table(self, name: str) -> pl.DataFrame:
        """Return a public data set, such as "mnist/train".

        Raises:
            InputError: There is no data folder, or it has no such file.
        """
        path = self.data / f"{name}.parquet" if self.data else None
        if path is None or not path.is_file():
            got = f"no {path}" if path else f"{DATA} is not set"
            remedy = f"Set {DATA}, or give --data, to a folder with {name}.parquet."
            raise InputError("data", f"the public data set {name}", got, remedy)
        return pl.read_parquet(path)

    def cache_tensors(self, step: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors of a step; computed once and cached, so that a run can resume."""
        path = self.folder / "steps" / f"{step}.safetensors"
        if not path.is_file():
            tensors = {name: tensor.contiguous() for name, tensor in make().items()}
            commit_file(path, lambda temp_path: save_file(tensors, temp_path))
        return load_file(path)

    def cache_json(self, step: str, make: Callable[[], dict]) -> dict:
        """Return the JSON object of a step; computed once and cached."""
        path = self.folder / "steps" / f"{step}.json"
        if not path.is_file():
            write_bytes(path, json.dumps(make()).encode())
        return json.loads(path.read_text("utf-8"))


def find_data_folder(folder: Path | None) -> Path | None:
    """Return the given data folder, else that of the environment variable; None without both."""
    if folder is not None:
        return folder
    return Path(os.environ[DATA]) if os.environ.get(DATA) else None
