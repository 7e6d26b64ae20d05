"""Callback of the transformers Trainer that records a training for unrolled differentiation."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fastif.errors import InputError
from fastif.losses import Loss
from fastif.models.problem_type import select_loss
from fastif.unrolled.batch_order import BatchOrder
from fastif.unrolled.gradient_verification import (
    GRADIENT_TOLERANCE,
    LoaderRows,
    measure_gradient_distance,
    select_new_sizes,
)
from fastif.unrolled.recorder import TrainingRecorder
from fastif.unrolled.row_digests import digest_rows
from fastif.unrolled.trainer_settings import (
    WHERE,
    check_accumulation,
    check_arguments,
    check_modules,
    read_optimizer,
    read_trained_params,
)

logger = logging.getLogger(__name__)

MAX_OVERHEAD = 0.015
"""Largest share of the training's time for writing states. The rest of the recording, mainly the
verification of one or two steps, takes about 2 / T of it."""


class RecordTraining(TrainerCallback):
    """Record of a Trainer's training: `Trainer(..., callbacks=[RecordTraining("record")])`.

    Recorded are the rows of each optimiser step in their order, the learning rates as applied, and
    about √T states of T steps, or fewer where they would take more than 1.5 % of the time or more
    than `max_gb` of disk. `open_record` reads the record. Any sampler, gradient accumulation,
    clipping, several epochs, a last batch that is dropped or smaller, frozen parameters and a
    training that is resumed from a checkpoint are recorded exactly. With `load_best_model_at_end`
    the record ends at the best checkpoint.

    What cannot be repeated exactly is refused when the training begins: dropout, reduced precision,
    several processes or GPUs, streamed data, other optimisers than AdamW, Adam and SGD of torch.
    The gradients of the first step are compared with those of the mean loss over its rows, so that
    another loss, augmented rows or a changed training step are refused there.

    Args:
        folder: New folder of the record.
        loss: Loss of the training; None for the usual one of the model's `problem_type`. The
            audit's loss must be the same.
        max_gb: Largest disk use of the states in GB. With AdamW each takes three times the trained
            parameters; with fewer than √T of them, more steps are repeated in memory later.

    Raises:
        InputError: When the training begins, or at its first step.
    """

    def __init__(
        self, folder: Path | str, loss: Loss | None = None, max_gb: float | int = 10.0
    ) -> None:
        self.folder, self.loss, self.max_gb = Path(folder), loss, max_gb
        self._recording: _Recording | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the settings and write the first state, or continue an interrupted record."""
        check_arguments(args, self.loss is not None)
        check_modules(kwargs["model"])
        check_accumulation(args, kwargs["model"], kwargs["train_dataloader"])
        if self._recording is not None:
            self._recording.order.close()
        self._recording = _Recording(self, args, state, kwargs)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start to follow the order of an epoch."""
        if self._recording:
            self._recording.start_epoch()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count a batch whose gradient is accumulated."""
        if self._recording:
            self._recording.accumulated += 1

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the rows of the step, and verify its gradient."""
        if self._recording:
            self._recording.read_rows()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the step."""
        if self._recording:
            self._recording.add_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the steps so far if the Trainer is about to save a checkpoint or to end."""
        if self._recording and (control.should_save or control.should_training_stop):
            self._recording.save_progress(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the steps so far if the Trainer is about to save a checkpoint."""
        if self._recording and control.should_save:
            self._recording.save_progress(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the last state, and finish the record."""
        if self._recording:
            self._recording.finish()
            self._recording = None


class _Recording:
    """Recording of one call of `Trainer.train`."""

    def __init__(
        self,
        callback: RecordTraining,
        args: TrainingArguments,
        state: TrainerState,
        parts: dict[str, Any],
    ) -> None:
        self.model, loader = parts["model"], parts["train_dataloader"]
        self.params = read_trained_params(self.model)
        self.optimizer, spec, groups = read_optimizer(
            parts["optimizer"], self.params, args.max_grad_norm
        )
        self.loss = select_loss(self.model, callback.loss)
        self.max_grad_norm, self.ends_at_best = spec.max_grad_norm, args.load_best_model_at_end
        self.order = BatchOrder(loader)
        self.rows = LoaderRows(loader, next(iter(self.params.values())).device)
        self.skipped, self.accumulated = _count_skipped(args, state, loader), 0
        self._verified: set[tuple[int, ...]] = set()
        self._batches: list[Tensor] = []
        self.recorder = TrainingRecorder(
            callback.folder,
            spec,
            groups,
            self.rows.compute_digests(),
            state.max_steps,
            float(callback.max_gb) * 1e9,
            MAX_OVERHEAD,
        )
        self._open_recorder(state)

    def _open_recorder(self, state: TrainerState) -> None:
        if state.global_step:
            self.recorder.resume(state.global_step, self.params)
            return
        if self.optimizer.state:
            raise InputError(
                f"{WHERE}: optimizer",
                "an optimiser without earlier steps",
                "the moments of an earlier training",
                "Make a new Trainer for each training.",
            )
        size = self.recorder.start(self.params)
        logger.warning("Recording the training in %s: %.2f GB", self.recorder.folder, size / 1e9)

    def start_epoch(self) -> None:
        """Forget what was drawn ahead; the first epoch of a resumed training skips batches."""
        self.order.start_epoch(self.skipped)
        self.skipped = 0

    def read_rows(self) -> None:
        """Read the positions of the step's rows, and verify a step of new batch sizes."""
        self._batches = self.order.take(self.accumulated + 1)
        self.accumulated = 0
        is_first = not self._verified
        if not select_new_sizes(self._batches, self._verified):
            return
        batches = [self.rows.take(ids.tolist()) for ids in self._batches]
        self._compare_rows(batches)
        distance = measure_gradient_distance(
            self.model, self.loss, self.params, batches, self.max_grad_norm
        )
        if distance <= GRADIENT_TOLERANCE:
            return
        error = self._explain(distance, len(batches))
        if is_first:
            self.order.close()
            raise error
        self.recorder.abandon(f"{error}")

    def _explain(self, distance: float, accumulated: int) -> InputError:
        remedy = "Name the loss that the Trainer minimises: RecordTraining(folder, loss)."
        if accumulated > 1:
            remedy += (
                f" Where the Trainer adds the mean losses of {accumulated} accumulated batches and "
                "does not divide by their number, as for models whose loss ignores "
                "num_items_in_batch: set model.accepts_loss_kwargs = False before the Trainer is "
                "made, or gradient_accumulation_steps=1."
            )
        return InputError(
            f"{WHERE}: step {self.recorder.step + 1}",
            f"the gradients of the mean {type(self.loss).__name__} over its rows",
            f"others, at a relative distance of {distance:.1e}",
            remedy,
        )

    def _compare_rows(self, batches: list[dict[str, Tensor]]) -> None:
        """Refuse rows that differ from those that were read when the training began."""
        present = torch.cat([digest_rows(batch) for batch in batches])
        if not torch.equal(present, self.recorder.row_digests[torch.cat(self._batches)]):
            self.order.close()
            raise InputError(
                f"{WHERE}: training data",
                "the same rows whenever they are read",
                "other tokens or labels the second time",
                "Train without random augmentation, by the data set or by its collator.",
            )

    def add_step(self) -> None:
        """Record the step after the update."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.recorder.add_step(torch.cat(self._batches), rates, self.params, self.optimizer)

    def save_progress(self, state: TrainerState) -> None:
        """Write the steps so far, so that the training can be resumed, or end here as the best."""
        self.recorder.save_progress(self.params, self.ends_at_best)
        if self.ends_at_best:
            self.recorder.drop_states((state.best_global_step or 0, state.global_step))

    def finish(self) -> None:
        """Finish the record."""
        self.order.close()
        if self.ends_at_best:
            self.recorder.cut_to(self.params)
        self.recorder.finish(self.params)


def _count_skipped(args: TrainingArguments, state: TrainerState, loader: Any) -> int:
    """Return how many batches of its first epoch a resumed training draws and skips."""
    if args.ignore_data_skip:
        return 0
    accumulated = args.gradient_accumulation_steps
    steps_per_epoch = max(1, -(-len(loader) // accumulated))
    return state.global_step % steps_per_epoch * accumulated
