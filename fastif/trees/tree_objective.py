"""Boosted trees as an objective: predictions and measures of rows, as of any other model."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fastif.data.examples import BATCH_SIZE, Batch, LabeledExamples
from fastif.errors import InputError
from fastif.losses import CrossEntropy, Measure, SquaredError
from fastif.losses.measure import InvalidTargets
from fastif.models.objective import Objective
from fastif.models.parameters import Params, ParamSpace
from fastif.trees.boosting_loss import HalfSquaredError, Logistic
from fastif.trees.training import TreeTraining

LEAF_VALUES = "leaf values"


@dataclass(eq=False)
class TreeRows(LabeledExamples):
    """Features [n f] in double precision, NaN where missing, with targets [n *t].

    Attributes:
        rows: Features in the order of the ensemble's columns.
        labels: Targets in the form that the measure of queries expects.
    """

    rows: Float[Tensor, "n f"]
    labels: Shaped[Tensor, "n *t"]
    batch_size: int = BATCH_SIZE

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return {"inputs": self.rows[ids], "labels": self.labels[ids]}


class TreeObjective(Objective):
    """Boosted trees with their repeated training, as an objective without gradients.

    Outputs are logits, one for each class, or the number of a regression. The single score z of
    two classes becomes (0, z), whose cross-entropy is the logistic loss of z.

    Args:
        training: Training of the ensemble, see `trace_training`.
        difference: Largest difference from the library's own scores; None if not compared.

    Attributes:
        training: Training of the ensemble.
        difference: Largest difference from the library's own scores; None if not compared.
    """

    def __init__(self, training: TreeTraining, difference: float | None = None) -> None:
        self.training, self.difference = training, difference
        is_number = isinstance(training.ensemble.loss, HalfSquaredError)
        self.loss = SquaredError() if is_number else CrossEntropy()
        values = [tree.values.flatten() for tree in training.ensemble.trees]
        self.params = {LEAF_VALUES: torch.cat(values)}
        self.space = ParamSpace.from_params(self.params)
        self.module = self.full_model = nn.Module()

    @property
    def num_outputs(self) -> int:
        """Number of logits, or 1 for a number."""
        loss = self.training.ensemble.loss
        return 2 if isinstance(loss, Logistic) else loss.outputs

    @property
    def notes(self) -> tuple[str, ...]:
        return self.training.notes

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        ensemble = self.training.ensemble
        return self.complete(ensemble.loss.to_logits(ensemble.predict(batch["inputs"])))

    def complete(self, logits: Float[Tensor, "b o"]) -> Float[Tensor, "b c"]:
        """Return a logit for each class from the ensemble's own."""
        is_single = isinstance(self.training.ensemble.loss, Logistic)
        return F.pad(logits, (1, 0)) if is_single else logits

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        raise InputError(
            "candidates",
            "the full training set for boosted trees, which have no embedding",
            "a search by embeddings",
            'Use kind = "full".',
        )


@dataclass(frozen=True)
class ScoreMeasure(Measure):
    """Measure of queries as a function of an ensemble's own logits, one for two classes.

    Attributes:
        objective: Trees, which complete the logits.
        measure: Measure of a logit for each class, or of a number.
    """

    objective: TreeObjective
    measure: Measure

    def __call__(
        self, outputs: Float[Tensor, "b o"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        return self.measure(self.objective.complete(outputs), targets)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return self.measure.find_invalid_targets(targets, self.objective.num_outputs)
