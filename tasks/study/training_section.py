"""The section `[training]` of a study file: the recipe of the model."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.study.errors import Problem
from tasks.study.fields import Name, Section, Seed, Selection
from tasks.study.validation_errors import make_validation_error

LoraTargets = Literal["all-linear"] | tuple[Name, ...]
"""Layers that a LoRA adapter is added to."""


class Training(Section):
    """`[training]`: training recipe of the model, for `fastif train` and for `damping = "auto"`."""

    base: Name
    """pre-trained model: a folder, hub:owner/name, or package:NAME/folder of a Python package"""
    trainable: Selection = "last:1"
    """parameters to train, in the form of [parameters] attributed; without lora_rank"""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """rank of a LoRA adapter: its matrices and the head are trained, the base stays as it is"""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """scale of the adapter, divided by its rank; twice the rank if omitted"""
    lora_targets: LoraTargets | None = None
    """ends of the names of the layers that are adapted, or all-linear; if omitted, those that
    PEFT has for the architecture, or else all-linear"""
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

    @model_validator(mode="after")
    def _check_lora(self) -> Self:
        stated = self.model_fields_set
        if self.lora_rank is None:
            lost = [key for key in ("lora_alpha", "lora_targets") if getattr(self, key) is not None]
            if lost:
                problem = Problem(lost[0], "a rank with it", "no lora_rank", "add lora_rank = 8")
                raise make_validation_error(problem)
        elif "trainable" in stated and self.trainable != "adapter":
            change = "remove trainable: matrices and head of the adapter are trained"
            raise make_validation_error(
                Problem("trainable", "no key trainable with lora_rank", "both", change)
            )
        return self

    @property
    def trained(self) -> str | tuple[str, ...]:
        """Selection of the trained parameters: the adapter if there is a rank."""
        return self.trainable if self.lora_rank is None else "adapter"

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
        excluded = {"base", *_WITHOUT_EFFECT_ON_WEIGHTS}
        if self.lora_rank is None:
            excluded |= {"lora_rank", "lora_alpha", "lora_targets"}
        return self.model_dump(mode="json", exclude=excluded)


_WITHOUT_EFFECT_ON_WEIGHTS = frozenset({"checkpoints", "record"})
"""Keys of what is saved besides the final weights."""
