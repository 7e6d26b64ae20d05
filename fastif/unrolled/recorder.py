"""Recorder of a training: writes its steps and about √T of its states while it runs."""

import logging
import math
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from fastif.errors import InputError
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup
from fastif.unrolled.record_files import (
    FINISHED,
    ROWS,
    UNFINISHED,
    RecordManifest,
    read_manifest,
    write_manifest,
    write_steps,
    write_tensors,
)
from fastif.unrolled.record_training import choose_state_steps
from fastif.unrolled.stored_states import plan_states, read_moments
from fastif.unrolled.training_record import digest_weights

logger = logging.getLogger(__name__)

TIMED_STEPS = 5
"""Number of steps after which the time of a step is known."""
MARGIN = 0.9
"""Share of the free disk that a record may take."""


class TrainingRecorder:
    """Recorder of one training, on disk: batches, learning rates, and states at some steps.

    Call `start` with the initial parameters, `add_step` after each update of the optimiser, and
    `finish` at the end. `open_record` reads what it wrote. The state at step 0 has no moments,
    since they are zero.

    Args:
        folder: New folder of the record.
        optimizer: Optimiser and its constants.
        groups: Groups of parameters.
        row_digests: Digest of each of the n training rows, see `compute_row_digests`.
        num_steps: Number T of steps that are planned; the training may end earlier.
        max_bytes: Largest disk use of the states. At √T states of a training with Adam, they take
            (1 + 3√T) times the trained parameters.
        max_overhead: Largest share of the training's time that writing states may take, estimated
            after a few steps; fewer states are stored where √T take more. None for no limit.

    Raises:
        InputError: The folder holds a finished record or other files.
    """

    def __init__(
        self,
        folder: Path,
        optimizer: OptimizerSpec,
        groups: Sequence[ParameterGroup],
        row_digests: UInt8[Tensor, "n 16"],
        num_steps: int,
        max_bytes: float = math.inf,
        max_overhead: float | None = None,
    ) -> None:
        self.folder, self.optimizer, self.groups = folder, optimizer, tuple(groups)
        self.row_digests, self.num_steps, self.max_bytes = row_digests, num_steps, max_bytes
        self.max_overhead = max_overhead
        self.manifest: RecordManifest | None = None
        self._step_times: list[float] = []
        self._state_seconds = 0.0
        self._batches: list[Tensor] = []
        self._rates: list[list[float]] = []
        self._torch_optimizer: torch.optim.Optimizer | None = None

    @property
    def step(self) -> int:
        """Number of steps recorded."""
        return (self.manifest.step if self.manifest else 0) + len(self._batches)

    def start(self, params: Mapping[str, Tensor]) -> int:
        """Create the folder with the state at step 0; an unfinished record there is replaced.

        Returns:
            Bytes that the states will take.

        Raises:
            InputError: The folder holds other files, or the disk has no room for two states.
        """
        self._clear_folder()
        free = MARGIN * shutil.disk_usage(self.folder).free
        steps, size = plan_states(
            params, self.optimizer.num_moments, self.num_steps, min(self.max_bytes, free)
        )
        if size > free:
            raise InputError(
                f"training record {self.folder}",
                f"room for {size / 1e6:,.1f} MB",
                f"{free / 1e6:,.1f} MB",
                "Free some space, or choose a folder on another disk.",
            )
        self.manifest = RecordManifest(
            optimizer=asdict(self.optimizer),
            groups=tuple(asdict(group) for group in self.groups),
            parameters=tuple((name, tuple(tensor.shape)) for name, tensor in params.items()),
            count=len(self.row_digests),
            planned_steps=self.num_steps,
            planned_states=steps,
            rows=write_tensors(self.folder, ROWS, {"digests": self.row_digests}, 0),
            versions={name: version(name) for name in ("fastif", "torch", "transformers")},
        )
        started = time.perf_counter()
        self._write_state(params, None)
        self._state_seconds = (time.perf_counter() - started) * (1 + self.optimizer.num_moments)
        return size

    def resume(self, step: int, params: Mapping[str, Tensor]) -> None:
        """Continue an interrupted record from a step at which `save_progress` was called.

        Raises:
            InputError: The record has no such step, or is of another training.
        """
        manifest = read_manifest(self.folder, UNFINISHED)
        expected = f"the beginning of this training, up to step {step}"
        known = manifest.checkpoints.get(str(step))
        same_plan = (
            manifest.planned_steps == self.num_steps
            and manifest.optimizer_spec == self.optimizer
            and manifest.parameter_groups == self.groups
        )
        got = ""
        if known is None:
            got = f"steps {', '.join(manifest.checkpoints) or 'none'} to continue from"
        elif not same_plan:
            got = "other steps, optimiser or groups of parameters"
        elif known != _digest(params):
            got = f"other parameters at step {step}"
        if got:
            remedy = "Resume from the checkpoint of such a step, or start the training again."
            raise InputError(f"training record {self.folder}", expected, got, remedy)
        self.manifest = manifest.cut_after(step)
        write_manifest(self.folder, self.manifest)

    def add_step(
        self,
        ids: Int[Tensor, " b"],
        learning_rates: Sequence[float],
        params: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Record one step after the update of the optimiser.

        Args:
            ids: Positions of the training rows of the step.
            learning_rates: Learning rate that each group was updated with.
            params: Trained parameters by name, after the update.
            optimizer: Optimiser, with its state after the update.
        """
        assert self.manifest is not None
        self._torch_optimizer = optimizer
        self._step_times.append(time.perf_counter())
        if len(self._step_times) == TIMED_STEPS and self.max_overhead is not None:
            self._limit_overhead(self.manifest, self.max_overhead)
        self._batches.append(ids.detach().cpu().clone())
        self._rates.append([float(rate) for rate in learning_rates])
        if self.step in self.manifest.planned_states and not self.manifest.defect:
            self._write_state(params, optimizer)

    def _limit_overhead(self, manifest: RecordManifest, share: float) -> None:
        """Plan fewer states if those planned would take more than a share of the training."""
        seconds = float(np.median(np.diff(self._step_times)))
        affordable = int(share * self.num_steps * seconds / max(self._state_seconds, 1e-9))
        if affordable < len(manifest.planned_states) - 1:
            steps = choose_state_steps(self.num_steps, max(1, affordable))
            self.manifest = replace(manifest, planned_states=steps)

    def save_progress(self, params: Mapping[str, Tensor], with_state: bool = False) -> None:
        """Write the steps so far, so that the training can be resumed from here.

        Args:
            params: Trained parameters by name.
            with_state: Whether the state is stored as well, so that the record can end here.
        """
        assert self.manifest is not None
        if with_state and self.manifest.states[-1].step != self.step:
            self._write_state(params, self._torch_optimizer)
        manifest = self._write_steps(self.manifest)
        checkpoints = {**manifest.checkpoints, str(manifest.step): _digest(params)}
        self.manifest = replace(manifest, checkpoints=checkpoints)
        write_manifest(self.folder, self.manifest)

    def abandon(self, defect: str) -> None:
        """Mark the record as one that cannot be repeated; the training goes on without it."""
        assert self.manifest is not None
        logger.warning("The record of the training is of no use: %s", defect)
        self.manifest = replace(self.manifest, defect=defect)
        write_manifest(self.folder, self.manifest)

    def cut_to(self, params: Mapping[str, Tensor]) -> None:
        """Let the record end at the stored checkpoint with these parameters, such as the best.

        Without such a checkpoint the record is abandoned.
        """
        assert self.manifest is not None
        digest = _digest(params)
        steps = [int(step) for step, known in self.manifest.checkpoints.items() if known == digest]
        if not steps:
            self.abandon("the final weights are those of no step at which a checkpoint was saved")
            return
        self._batches, self._rates = [], []
        self._replace_manifest(self.manifest.cut_after(steps[-1]))

    def drop_states(self, kept: Collection[int]) -> None:
        """Remove the states of checkpoints, but for those of some steps and the planned ones."""
        assert self.manifest is not None
        steps = {0, *kept, *self.manifest.planned_states}
        states = tuple(file for file in self.manifest.states if file.step in steps)
        self._replace_manifest(replace(self.manifest, states=states))

    def _replace_manifest(self, manifest: RecordManifest) -> None:
        """Write another manifest, and remove the files that it lists no longer."""
        assert self.manifest is not None
        earlier, self.manifest = self.manifest, manifest
        write_manifest(self.folder, manifest)
        listed = {file.name for file in (*manifest.chunks, *manifest.states)}
        for file in (*earlier.chunks, *earlier.states):
            if file.name not in listed:
                (self.folder / file.name).unlink(missing_ok=True)

    def finish(self, params: Mapping[str, Tensor]) -> None:
        """Write the final state and the manifest; from now on the record can be read."""
        assert self.manifest is not None
        if self.manifest.defect:
            return
        if self.manifest.states[-1].step != self.step:
            self._write_state(params, self._torch_optimizer)
        self.manifest = replace(self.manifest, weights_digest=_digest(params))
        write_manifest(self.folder, self.manifest)

    def _write_state(
        self, params: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None
    ) -> None:
        """Write the steps since the last state, this state, and the manifest of both."""
        assert self.manifest is not None
        manifest, step = self._write_steps(self.manifest), self.step
        tensors = {f"params/{name}": tensor.detach() for name, tensor in params.items()}
        if optimizer is not None:
            tensors |= read_moments(params, optimizer, self.optimizer)
        file = write_tensors(self.folder, f"state-{step:06d}.safetensors", tensors, step)
        self.manifest = replace(manifest, states=(*manifest.states, file))
        write_manifest(self.folder, self.manifest)

    def _write_steps(self, manifest: RecordManifest) -> RecordManifest:
        if not self._batches:
            return manifest
        rates = torch.tensor(self._rates, dtype=torch.float64)
        file = write_steps(self.folder, manifest.step, self._batches, rates)
        self._batches, self._rates = [], []
        self.manifest = replace(manifest, chunks=(*manifest.chunks, file))
        return self.manifest

    def _clear_folder(self) -> None:
        """Create the folder, or empty it of an unfinished record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / UNFINISHED).is_file() and not (self.folder / FINISHED).is_file():
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        if any(self.folder.iterdir()):
            raise InputError(
                f"training record {self.folder}",
                "a new folder, or one with an unfinished record",
                "a finished record" if (self.folder / FINISHED).is_file() else "other files",
                "Choose another folder, or remove this one.",
            )


def _digest(params: Mapping[str, Tensor]) -> str:
    return digest_weights(torch.cat([tensor.detach().reshape(-1) for tensor in params.values()]))
