"""`[estimator]`: what the choice of the estimator by retraining may use."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from tasks.study.errors import Problem, format_value
from tasks.study.fields import DistinctNames, Section


class EstimatorSection(Section):
    """`[estimator]`: estimator of the effects, chosen by retraining with `damping = "auto"`."""

    checkpoints: DistinctNames | Literal["auto"] = "auto"
    """checkpoints of the training that are tried instead of, or together with, the final weights:
    folders, [] for none, or "auto" for those of the model's folder"""
    power: Annotated[float, Field(ge=0, le=2)] | Literal["auto"] = "auto"
    """power of the norm of a row's effects, by which they are divided for the ranking; 0: ranked by
    removal_effect; auto: chosen by retraining"""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the checkpoints; none while "auto" is not resolved."""
        return self.checkpoints if isinstance(self.checkpoints, tuple) else ()

    @property
    def settings(self) -> dict[str, object]:
        """Settings for a fingerprint; the checkpoints are among the models. Empty if none apply."""
        return {"estimator": {"power": self.power}} if self.is_open else {}

    @property
    def is_open(self) -> bool:
        """Whether there is more than one estimator to choose from."""
        return self.power != 0 or bool(self.folders)


def check_estimator(
    section: EstimatorSection, model: str, is_selected: bool, is_carried: bool
) -> Iterator[Problem]:
    """Check that the settings of the estimator have an effect.

    Args:
        section: Section of the study.
        model: Path of the final model.
        is_selected: Whether retraining selects the damping, and with it the estimator.
        is_carried: Whether runs are incremental, which tries no other estimator.
    """
    if model in section.folders:
        expected = "earlier weights than those of [model] path, which are always tried"
        yield Problem("[estimator] checkpoints", expected, format_value(model), "remove it")
    if is_selected and not is_carried:
        return
    reason = "with [carry]" if is_carried else 'without damping = "auto" and [training]'
    for key, value in (("checkpoints", section.folders), ("power", section.power)):
        if value and value != "auto":
            expected, got = f"no such key {reason}", format_value(value)
            yield Problem(f"[estimator] {key}", expected, got, "remove it; nothing is selected")
