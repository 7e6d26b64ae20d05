"""Pipeline of scikit-learn, read from a skops file, as an objective of its last step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.data.examples import TensorExamples
from fastif.errors import InputError
from fastif.losses.loss import Loss
from fastif.models.objective import ModuleObjective
from fastif.pipelines.fitted_head import FittedHead, read_head
from fastif.pipelines.pipeline_module import PipelineModule

WHERE = "scikit-learn model"
HARMLESS = (
    "numpy.dtype",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
"""Types of data beyond those of skops that are trusted; none runs code of a file."""


@dataclass(frozen=True, eq=False)
class FittedPipeline:
    """Preprocessing and last step of a fitted pipeline.

    Attributes:
        steps: Preprocessing: a pipeline with `transform`; None without.
        head: Last step as layers, with loss and penalty.
        columns: Names of the columns that it was fitted to; None if these were arrays.
    """

    steps: Any
    head: FittedHead
    columns: tuple[str, ...] | None

    def transform(self, rows: Any) -> Float[Tensor, "n d"]:
        """Return the features after the pipeline's own preprocessing.

        Args:
            rows: Rows as the pipeline takes them: a data frame, or an array.
        """
        features = rows if self.steps is None else self.steps.transform(rows)
        dense = features.toarray() if hasattr(features, "toarray") else np.asarray(features)
        return torch.tensor(np.asarray(dense, dtype=np.float64))

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Float[Tensor, "n d"]:
        """Return the features of rows that are mappings from column to value."""
        import pandas as pd

        missing = None if _knows_none(self.steps) else np.nan
        columns = {}
        for name in rows[0] if rows else ():
            values = [row[name] for row in rows]
            is_text = any(value is None or isinstance(value, str) for value in values)
            filled = [missing if value is None else value for value in values]
            columns[name] = pd.Series(filled, dtype=object if is_text else None)
        frame = pd.DataFrame(columns)
        if self.columns is None:
            return self.transform(frame.to_numpy())
        absent = [name for name in self.columns if name not in frame.columns]
        if absent:
            expected = "the columns that the pipeline was fitted to: " + ", ".join(self.columns)
            remedy = "Name them under [train] features."
            raise InputError("features", expected, "none of " + ", ".join(absent), remedy)
        return self.transform(frame[list(self.columns)])

    def make_objective(self, rows: int, loss: Loss | None = None) -> ModuleObjective:
        """Return the objective that was minimised on a number of training rows.

        Args:
            rows: Number of training rows.
            loss: Loss of a row, such as one with the weights of balanced classes; that of the head
                by default.
        """
        if loss is None and self.head.is_balanced:
            raise InputError(
                "loss",
                "the class weights of the training rows",
                'class_weight="balanced"',
                "Give loss=CrossEntropy(class_weights=balanced_weights(labels, classes)).",
            )
        loss = self.head.loss if loss is None else loss
        penalty = self.head.penalty.compute(rows)
        plain = type(self.head.loss)()
        return ModuleObjective(PipelineModule(self.head), loss, measure=plain, penalty=penalty)

    def make_examples(self, rows: Any, targets: Shaped[Tensor, " n"]) -> TensorExamples:
        """Return rows with their targets, class numbers in the order of the head's classes."""
        return TensorExamples(self.transform(rows), targets)


def read_pipeline(path: str | Path) -> FittedPipeline:
    """Read a pipeline or estimator from a file of skops, of trusted types only.

    Raises:
        InputError: The file is no skops file or holds types that skops does not trust, or the last
            step is not supported.
    """
    estimator = _load(Path(path))
    steps = None
    columns = getattr(estimator, "feature_names_in_", None)
    if type(estimator).__name__ == "Pipeline":
        steps = estimator[:-1] if len(estimator.steps) > 1 else None
        estimator = estimator.steps[-1][1]
    names = None if columns is None else tuple(str(name) for name in columns)
    return FittedPipeline(steps, read_head(estimator), names)


def _knows_none(steps: Any) -> bool:
    """Whether an encoder was fitted to missing categories as None, and not as pandas' NaN."""
    if steps is None or isinstance(steps, str):
        return False
    for name in ("steps", "transformers_", "transformer_list"):
        if any(_knows_none(part[1]) for part in getattr(steps, name, ())):
            return True
    kinds = getattr(steps, "categories_", ())
    return any(value is None for values in kinds for value in values)


def _load(path: Path) -> Any:
    """Load a skops file after the check that it holds trusted types alone.

    Raises:
        InputError: It cannot be read, or holds other types.
    """
    try:
        from skops import io
    except ImportError as error:
        remedy = 'Install it: pip install "fastif[sklearn]".'
        raise InputError(WHERE, "the package skops", "none", remedy) from error
    remedy = 'Save it with skops: skops.io.dump(pipeline, "model.skops").'
    try:
        foreign = io.get_untrusted_types(file=str(path))
        untrusted = [name for name in foreign if name not in HARMLESS]
        if not untrusted:
            return io.load(str(path), trusted=foreign)
    except Exception as error:  # damaged files raise what their parts raise
        got = f"{path.name}: {type(error).__name__} {error}".splitlines()[0]
        raise InputError(WHERE, "a file of skops", got, remedy) from error
    remedy = "These could run code of their own; use steps of scikit-learn."
    raise InputError(WHERE, "types of scikit-learn", ", ".join(untrusted), remedy)
