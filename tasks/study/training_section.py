"""The section `[training]` of a study file: the recipe of the model."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.study.errors import Problem
from tasks.study.fields import Name, Section, Seed, Selection
from tasks.study.validation_errors import make_validation_error


class Training(Section):
    """`[training]`: training recipe of the model, for `fastif train` and for `damping = "auto"`."""

    base: Name
    """pre-trained model: a folder, hub:owner/name, or package:NAME/folder of a Python package"""
    trainable: Selection = "last:1"
    """parameters to train, in the form of [parameters] attributed"""
    epochs: Annotated[int, Field(ge=1)] = 3
    """number of passes over the training rows"""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """peak learning rate"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """weight decay; that of [loss] if omitted, or else 0.01"""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """number of rows per step"""
    seed: Seed = 0
    """random seed of the new head and of the order of the rows"""
    checkpoints: Literal["auto"] | tuple[Annotated[float, Field(gt=0, lt=1)], ...] = "auto"
    """fractions of the training, such as [0.25, 0.5], at which a checkpoint is saved too; auto:
    0.125, 0.25 and 0.5 if the disk has room for them"""

    record: bool = True
    """whether the steps of the training are recorded too, for influence through the training; ten
    times the trained parameters on disk"""

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        if self.checkpoints == "auto":
            return self
        names = [f"{fraction:g}" for fraction in self.checkpoints]  # the names of their folders
        duplicates = [name for name in names if names.count(name) > 1]
        if duplicates:
            got, change = f"{duplicates[0]} twice", "remove one of them"
            raise make_validation_error(
                Problem("checkpoints", "fractions that differ in six digits", got, change)
            )
        return self

    @property
    def decay(self) -> float:
        """Weight decay of training if `[loss]` has none."""
        return 0.01 if self.weight_decay is None else self.weight_decay

    @property
    def stated_checkpoints(self) -> tuple[float, ...]:
        """Fractions that the study states and the model must have; empty for "auto"."""
        return () if self.checkpoints == "auto" else self.checkpoints

    @property
    def weight_settings(self) -> dict[str, Any]:
        """Settings that determine the weights, without the base model."""
        return self.model_dump(mode="json", exclude={"base", *_WITHOUT_EFFECT_ON_WEIGHTS})


_WITHOUT_EFFECT_ON_WEIGHTS = frozenset({"checkpoints", "record"})
"""Keys of what is saved besides the final weights."""
