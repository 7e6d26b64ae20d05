"""Saved training record: read from its folder, and compared with a model and its training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.models.parameters import ParamSpace
from fastif.unrolled.record_files import (
    AGAIN,
    RecordFile,
    RecordManifest,
    check_file,
    read_manifest,
    read_steps,
    read_tensors,
)
from fastif.unrolled.row_digests import check_row_digests, compute_row_digests
from fastif.unrolled.training_record import TrainingRecord, TrainingState, digest_weights


def open_record(folder: Path | str, objective: Objective, examples: Examples) -> TrainingRecord:
    """Read the record of a training, and refuse one of another model, table or with damaged files.

    Every file is read once for its digest, before anything is computed. States are loaded on
    demand, in the order of `objective.space`.

    Args:
        folder: Folder that `TrainingRecorder` wrote.
        objective: Model at the final parameters of the training.
        examples: Training rows, in the order of the training.

    Raises:
        InputError: A file is missing or was changed, steps are missing, the training was
            interrupted, other parameters were trained, the final weights are not the model's, or
            the rows are not those of the training.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for file in (manifest.rows, *manifest.chunks, *manifest.states):
        check_file(folder, file)
    batches, rates = _read_all_steps(folder, manifest)
    states = _StateFiles(folder, manifest, objective.space)
    record = TrainingRecord(
        optimizer=manifest.optimizer_spec,
        groups=manifest.parameter_groups,
        learning_rates=rates,
        batches=batches,
        count=manifest.count,
        state_steps=tuple(file.step for file in manifest.states),
        load_state=states.load,
        weights_digest=states.digest_final_weights(),
    )
    weights = objective.space.flatten(objective.params)
    if digest_weights(weights) != record.weights_digest:
        raise InputError(
            f"training record {folder}",
            "the record of the training that ended in the model's weights",
            f"one that ended in others, sha256 {manifest.weights_digest[:12]}",
            "Use the model as it was saved at the end of that training, in single precision; or "
            + AGAIN[0].lower()
            + AGAIN[1:],
        )
    digests = read_tensors(folder, manifest.rows)["digests"]
    check_row_digests(digests, compute_row_digests(examples), f"training record {folder}")
    return record


def _read_all_steps(folder: Path, manifest: RecordManifest) -> tuple[list[Tensor], Tensor]:
    """Return batches and learning rates of all steps.

    Raises:
        InputError: Steps are missing between two chunks, or at the end.
    """
    batches: list[Tensor] = []
    rates = [torch.empty(0, len(manifest.groups), dtype=torch.float64)]
    for file in manifest.chunks:
        chunk, chunk_rates = read_steps(folder, file)
        batches += chunk
        rates.append(chunk_rates)
        if len(batches) != file.step:
            break
    last = manifest.states[-1].step if manifest.states else 0
    if len(batches) != last:
        raise InputError(
            f"training record {folder}",
            f"the batches of all {last} steps",
            f"a gap after step {min(len(batches), last)}",
            AGAIN,
        )
    return batches, torch.cat(rates)


@dataclass(frozen=True)
class _StateFiles:
    """Stored states of a record, in the order of a parameter space."""

    folder: Path
    manifest: RecordManifest
    space: ParamSpace

    def load(self, step: int) -> TrainingState:
        """Return the state after a number of steps.

        Raises:
            InputError: No such state is stored, or it has other parameters.
        """
        file = self._find_file(step)
        tensors = read_tensors(self.folder, file)
        params = self._flatten(tensors, "params", step)
        count = self.manifest.optimizer_spec.num_moments
        if step == 0:
            return TrainingState(0, params, tuple(torch.zeros_like(params) for _ in range(count)))
        moments = (self._flatten(tensors, f"moment {number}", step) for number in range(count))
        return TrainingState(step, params, tuple(moments))

    def digest_final_weights(self) -> str:
        """Return the digest of the final weights, after a check against that of the manifest."""
        last = self.manifest.states[-1].step
        tensors = read_tensors(self.folder, self._find_file(last))
        names = [f"params/{name}" for name, _ in self.manifest.parameters]
        recorded = torch.cat([tensors[name].reshape(-1) for name in names if name in tensors])
        if digest_weights(recorded) != self.manifest.weights_digest:
            raise InputError(
                f"training record {self.folder}",
                "a last state with the final weights",
                f"other weights in {self._find_file(last).name}",
                AGAIN,
            )
        return digest_weights(self._flatten(tensors, "params", last))

    def _find_file(self, step: int) -> RecordFile:
        return next(file for file in self.manifest.states if file.step == step)

    def _flatten(self, tensors: Mapping[str, Tensor], prefix: str, step: int) -> Tensor:
        """Return named tensors as one vector in the order of the space."""
        named = {name: tensors.get(f"{prefix}/{name}") for name in self.space.names}
        known = {name for name, _ in self.manifest.parameters}
        shapes = dict(zip(self.space.names, self.space.shapes, strict=True))
        for name in sorted(known ^ set(named)) or sorted(named):
            tensor = named.get(name)
            if tensor is None or tuple(tensor.shape) != shapes[name]:
                got = f"{name} trained but not attributed"
                if name in named and name not in known:
                    got = f"{name} attributed but not trained"
                elif name in named:
                    got = f"no {name} of shape {shapes[name]} in the state of step {step}"
                raise InputError(
                    f"training record {self.folder}",
                    f"the {len(named)} attributed parameters of the model",
                    got,
                    "Attribute all parameters that were trained, and no others.",
                )
        return self.space.flatten({name: t for name, t in named.items() if t is not None})
