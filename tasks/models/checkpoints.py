"""Checkpoints of a model's training: those of `fastif train`, and the Trainer's of `transformers`.

Found are `checkpoint-0.25` (a fraction of the training) in a folder of `fastif train`, and
`checkpoint-500` (a step) with a `trainer_state.json`, inside the model's folder or next to it.
Nothing is loaded: configurations, tokenizers, digests and the headers of the weights are compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastif.models.adapter_folder import is_adapter
from fastif.models.weight_files import find_damaged_file, suggest_remedy
from tasks.models.json_object import read_json
from tasks.models.model_identity import ModelIdentity, compare_identities, read_identity
from tasks.models.trained_folder import read_matching_record
from tasks.models.training_record import RECORD_FILE

STATE = "trainer_state.json"
PREFIX = "checkpoint-"


class Checkpoint(NamedTuple):
    """Checkpoint of a training: its fraction of the training steps, 0 to 1, and its folder."""

    fraction: float
    folder: Path


class IgnoredCheckpoint(NamedTuple):
    """Folder that looks like a checkpoint, and why it is not used."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class CheckpointSearch:
    """Checkpoints of a model's training.

    Attributes:
        checkpoints: Usable ones, the earliest first.
        ignored: The others, with a reason each.
    """

    checkpoints: tuple[Checkpoint, ...]
    ignored: tuple[IgnoredCheckpoint, ...]


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the usable checkpoints of a model's training, the earliest first.

    Args:
        folder: Folder of the final model.
    """
    return list(search_checkpoints(folder).checkpoints)


def search_checkpoints(folder: Path) -> CheckpointSearch:
    """Find the checkpoints of a model's training.

    A checkpoint is ignored if it is incomplete, has pickled weights only, another architecture,
    other labels or another tokenizer than the model, belongs to another training, is not earlier
    than the model, or has its weights.

    Args:
        folder: Folder of the final model.
    """
    folder = folder.resolve()
    paths = _list_folders(folder)
    if not paths:
        return CheckpointSearch((), ())
    model = read_identity(folder)
    final = _FinalState.read(folder, model, paths)
    checkpoints: dict[float, Checkpoint] = {}
    ignored = []
    for path in paths:
        reason = _find_defect(path) or compare_identities(model, read_identity(path))
        fraction, problem = (0.0, reason) if reason else final.place(path)
        if problem:
            ignored.append(IgnoredCheckpoint(path, problem))
        elif fraction in checkpoints:
            same = checkpoints[fraction].folder.name
            ignored.append(IgnoredCheckpoint(path, f"at the same step of the training as {same}"))
        else:
            checkpoints[fraction] = Checkpoint(fraction, path)
    return CheckpointSearch(tuple(sorted(checkpoints.values())), tuple(ignored))


def _list_folders(folder: Path) -> list[Path]:
    """Return the folders named like checkpoints in the model's folder, or else next to it."""
    inside = sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())
    if inside or (folder / RECORD_FILE).is_file():
        return inside
    siblings = sorted(path for path in folder.parent.glob(f"{PREFIX}*") if path.is_dir())
    return [path for path in siblings if path != folder]


def _find_defect(folder: Path) -> str:
    """Return why a folder holds no complete model; empty if it does."""
    if not ((folder / "config.json").is_file() or is_adapter(folder)):
        return "incomplete: no config.json"
    if not any(folder.glob("*.safetensors")):
        has_pickle = any(folder.glob("*.bin"))
        return suggest_remedy(folder) if has_pickle else "incomplete: no weights"
    try:
        damaged = find_damaged_file(folder)
    except OSError as error:
        return f"unreadable: {error}"
    return f"{damaged}" if damaged else ""


@dataclass(frozen=True)
class _FinalState:
    """Position of the final weights in their training.

    Attributes:
        fingerprint: Fingerprint of the training if `fastif train` made it; None otherwise.
        model: Identity of the final model.
        step: Step of the final weights by the Trainer; None if unknown.
        log: Log entries of the Trainer by step, for the comparison of trainings.
    """

    fingerprint: str | None
    model: ModelIdentity
    step: int | None
    log: Mapping[int, Any]

    @classmethod
    def read(cls, folder: Path, model: ModelIdentity, paths: list[Path]) -> "_FinalState":
        """Read the records in the folder of the final model, or else in its checkpoints."""
        record = read_json(folder / RECORD_FILE)
        fingerprint = str(record.get("fingerprint", "")) if record else None
        states = {path: state for path in paths if (state := _read_state(path))}
        own = _read_state(folder)
        equal = [
            state["global_step"]
            for path, state in states.items()
            if read_identity(path).weights == model.weights
        ]
        last = own or max(states.values(), key=lambda state: state["global_step"], default={})
        step = min(equal) if equal else own.get("global_step") if own else last.get("max_steps")
        return cls(fingerprint, model, step, _read_log(last))

    def place(self, folder: Path) -> tuple[float, str]:
        """Return the fraction of the training at a checkpoint, or 0 and a reason against it."""
        if read_identity(folder).weights == self.model.weights:
            return 0.0, "it has the weights of the model"
        return self._place_own(folder) if self.fingerprint is not None else self._place_step(folder)

    def _place_own(self, folder: Path) -> tuple[float, str]:
        assert self.fingerprint is not None
        fraction = _parse_number(folder.name.removeprefix(PREFIX))
        if not 0 < fraction < 1:
            return 0.0, f"its name {folder.name} has no fraction between 0 and 1"
        if read_json(folder / RECORD_FILE).get("fingerprint") != self.fingerprint:
            return 0.0, "of another training than the model, by their training records"
        if read_matching_record(folder, self.fingerprint) is None:
            return 0.0, "its files have changed since `fastif train`"
        return fraction, ""

    def _place_step(self, folder: Path) -> tuple[float, str]:
        state = _read_state(folder)
        if not state or not self.step:
            return 0.0, f"no {STATE} with global_step and max_steps"
        if state["global_step"] >= self.step:
            return 0.0, f"at step {state['global_step']}, not before the model's {self.step}"
        log = _read_log(state)
        if any(self.log.get(step) != entry for step, entry in log.items() if step in self.log):
            return 0.0, f"of another training than the model, by the log in their {STATE}"
        return state["global_step"] / self.step, ""


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _read_state(folder: Path) -> dict[str, Any]:
    """Return the state of a Trainer; empty if it lacks the steps."""
    state = read_json(folder / STATE)
    steps = [state.get(key) for key in ("global_step", "max_steps")]
    is_complete = all(isinstance(step, int) and step > 0 for step in steps)
    return state if is_complete else {}


def _read_log(state: Mapping[str, Any]) -> dict[int, Any]:
    """Return losses and rates by step; times and rows of evaluations are left out."""
    return dict(_iterate_log(state))


def _iterate_log(state: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    for entry in state.get("log_history") or ():
        if isinstance(entry, dict) and isinstance(entry.get("step"), int) and "loss" in entry:
            yield entry["step"], (entry["loss"], entry.get("learning_rate"))
