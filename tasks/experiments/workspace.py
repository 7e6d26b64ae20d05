"""Where an experiment works: its data, its size, and what it has done before."""

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
    """A folder of one experiment at one scale.

    Attributes:
        folder: of its steps and its result.
        scale: how large it is.
        data: with the public data sets; None if there is none.
    """

    folder: Path
    scale: Scale
    data: Path | None

    def select_size(self, small: int, full: int) -> int:
        """One of two numbers, by the scale."""
        return small if self.scale == "small" else full

    def read_table(self, name: str) -> pl.DataFrame:
        """A data set such as mnist/train.

        Raises:
            InputError: there is no folder of data, or it has no such file.
        """
        path = self.data / f"{name}.parquet" if self.data else None
        if path is None or not path.is_file():
            got = f"no {path}" if path else f"{DATA} is not set"
            remedy = f"Set {DATA}, or give --data, to a folder with {name}.parquet."
            raise InputError("data", f"the public data set {name}", got, remedy)
        return pl.read_parquet(path)

    def cache_tensors(self, step: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors of a step, made once; a run that was stopped goes on after its last step."""
        path = self.folder / "steps" / f"{step}.safetensors"
        if not path.is_file():
            tensors = {name: tensor.contiguous() for name, tensor in make().items()}
            commit_file(path, lambda temp_path: save_file(tensors, temp_path))
        return load_file(path)

    def cache_json(self, step: str, make: Callable[[], dict]) -> dict:
        """The same of what JSON can hold."""
        path = self.folder / "steps" / f"{step}.json"
        if not path.is_file():
            write_bytes(path, json.dumps(make()).encode())
        return json.loads(path.read_text("utf-8"))


def find_data_folder(folder: Path | None) -> Path | None:
    """The folder of data that was named, or that the environment names."""
    if folder is not None:
        return folder
    return Path(os.environ[DATA]) if os.environ.get(DATA) else None
