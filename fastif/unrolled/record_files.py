"""Files of a training record: a manifest with digests, chunks of steps, and states as safetensors.

    record.json                  manifest of a finished record; recording.json while it is written
    steps-000000-000016.safetensors   batches and learning rates of the steps between two states
    state-000016.safetensors     parameters and moments after that step, by name
    rows.safetensors             digest of each training row

Each file is written under a hidden name and renamed, the manifest last, so a writer that is killed
leaves a manifest that lists complete files only.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastif.errors import InputError
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup

FORMAT = 1
FINISHED, UNFINISHED = "record.json", "recording.json"
ROWS = "rows.safetensors"
INTERRUPTED = "a training that was interrupted, or that is still running"
AGAIN = "Record the training again into a new folder."


@dataclass(frozen=True)
class RecordFile:
    """File of a record.

    Attributes:
        name: Name in the record's folder.
        sha256: Digest of its bytes.
        step: Number of steps done at its end.
    """

    name: str
    sha256: str
    step: int


@dataclass(frozen=True)
class RecordManifest:
    """Manifest of a training record: everything but batches, rates and states.

    Attributes:
        optimizer: Fields of the `OptimizerSpec`.
        groups: Names of the parameters and weight decay of each group.
        parameters: Name and shape of each trained parameter, in order.
        count: Number n of training rows.
        planned_steps: Number of steps that the training was to have.
        planned_states: Steps whose states were to be stored.
        rows: File with the digests of the rows.
        chunks: Files with the batches and rates, in order.
        states: Files with the states, in order.
        checkpoints: Digest of the parameters after each step from which a training may be resumed.
        weights_digest: Digest of the final parameters, in the order of `parameters`; empty while
            the training runs.
        defect: Reason why the training cannot be repeated from the record; empty if it can.
        versions: Versions of the packages that wrote the record.
        format: Number of this layout.
    """

    optimizer: Mapping[str, Any]
    groups: tuple[Mapping[str, Any], ...]
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    count: int
    planned_steps: int
    planned_states: tuple[int, ...]
    rows: RecordFile
    chunks: tuple[RecordFile, ...] = ()
    states: tuple[RecordFile, ...] = ()
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    weights_digest: str = ""
    defect: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def step(self) -> int:
        """Number of steps whose batches are on disk."""
        return self.chunks[-1].step if self.chunks else 0

    @property
    def optimizer_spec(self) -> OptimizerSpec:
        """Optimiser and its constants."""
        return OptimizerSpec(**{**self.optimizer, "betas": tuple(self.optimizer["betas"])})

    @property
    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Groups of parameters."""
        return tuple(
            ParameterGroup(tuple(group["names"]), group["weight_decay"]) for group in self.groups
        )

    def cut_after(self, step: int) -> "RecordManifest":
        """Return the manifest as it was after a step at which a chunk ends."""
        return replace(
            self,
            chunks=tuple(file for file in self.chunks if file.step <= step),
            states=tuple(file for file in self.states if file.step <= step),
            checkpoints={key: value for key, value in self.checkpoints.items() if int(key) <= step},
        )


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor], step: int) -> RecordFile:
    """Write tensors to a file under a hidden name, rename it, and return it with its digest."""
    hidden = folder / f".{name}.tmp"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, hidden)
    with hidden.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    os.replace(hidden, folder / name)
    return RecordFile(name, digest, step)


def read_tensors(folder: Path, file: RecordFile) -> dict[str, Tensor]:
    """Read a file of a record.

    Raises:
        InputError: It is missing or was changed.
    """
    check_file(folder, file)
    try:
        return load_file(folder / file.name)
    except (SafetensorError, OSError) as error:
        raise _refuse_file(folder, file, f"unreadable ({error})") from error


def check_file(folder: Path, file: RecordFile) -> None:
    """Refuse a file that is missing or whose bytes have changed.

    Raises:
        InputError: With the name of the file.
    """
    try:
        with (folder / file.name).open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        raise _refuse_file(folder, file, "missing") from None
    except OSError as error:
        raise _refuse_file(folder, file, f"unreadable ({error})") from error
    if digest != file.sha256:
        raise _refuse_file(folder, file, "damaged or changed: another sha256")


def write_manifest(folder: Path, manifest: RecordManifest) -> None:
    """Write the manifest of a record; that of a finished one replaces the unfinished one."""
    name = FINISHED if manifest.weights_digest else UNFINISHED
    hidden = folder / f".{name}.tmp"
    hidden.write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
    os.replace(hidden, folder / name)
    if name == FINISHED:
        (folder / UNFINISHED).unlink(missing_ok=True)


def read_manifest(folder: Path, name: str = FINISHED) -> RecordManifest:
    """Read the manifest of a record.

    Args:
        folder: Folder of the record.
        name: Name of the manifest, finished or unfinished.

    Raises:
        InputError: There is none, it cannot be read, or it is of another format.
    """
    expected = f"a folder with {name}"
    try:
        entries = json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError:
        got, remedy = "no such file", "Correct the path, or record the training."
        if (folder / UNFINISHED).is_file() and name == FINISHED:
            got = read_manifest(folder, UNFINISHED).defect or INTERRUPTED
            remedy = "Resume the training from its last checkpoint, or record it again."
        raise InputError(f"training record {folder}", expected, got, remedy) from None
    except (OSError, ValueError) as error:
        raise InputError(f"training record {folder}", expected, f"{error}", AGAIN) from error
    try:
        return _parse_manifest(entries)
    except (KeyError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(
            f"training record {folder / name}", f"a manifest of format {FORMAT}", got, AGAIN
        ) from error


def _parse_manifest(entries: dict[str, Any]) -> RecordManifest:
    if entries["format"] != FORMAT:
        raise ValueError(f"format {entries['format']}")
    files = {
        key: tuple(RecordFile(**file) for file in entries[key]) for key in ("chunks", "states")
    }
    names = [file.name for kind in files.values() for file in kind] + [entries["rows"]["name"]]
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"a file of another folder, {outside[0]}")
    shapes = tuple((name, tuple(shape)) for name, shape in entries["parameters"])
    return RecordManifest(
        **{
            **entries,
            **files,
            "rows": RecordFile(**entries["rows"]),
            "parameters": shapes,
            "groups": tuple(entries["groups"]),
            "planned_states": tuple(entries["planned_states"]),
        }
    )


def write_steps(
    folder: Path,
    first: int,
    batches: list[Int[Tensor, " b"]],
    rates: Float[Tensor, "s g"],
) -> RecordFile:
    """Write the batches and learning rates of the steps after `first` as one chunk."""
    last = first + len(batches)
    tensors = {
        "ids": torch.cat(batches),
        "sizes": torch.tensor([len(ids) for ids in batches]),
        "learning_rates": rates,
    }
    return write_tensors(folder, f"steps-{first:06d}-{last:06d}.safetensors", tensors, last)


def read_steps(
    folder: Path, file: RecordFile
) -> tuple[list[Int[Tensor, " b"]], Float[Tensor, "s g"]]:
    """Read the batches and learning rates of a chunk.

    Raises:
        InputError: The file is missing or was changed.
    """
    tensors = read_tensors(folder, file)
    sizes = tensors["sizes"].tolist()
    return list(tensors["ids"].split(sizes)), tensors["learning_rates"]


def _refuse_file(folder: Path, file: RecordFile, got: str) -> InputError:
    return InputError(f"training record {folder}", f"the file {file.name}", got, AGAIN)
