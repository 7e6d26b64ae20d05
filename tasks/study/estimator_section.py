"""`[estimator]`: what the choice of the estimator by retraining may use."""

from collections.abc import Iterator, Sequence
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
    through_training: bool = False
    """whether effects through the whole training are tried too (unrolled differentiation); needs
    the record that `fastif train` writes, and candidates of kind "full"; costs about five
    trainings for 30 queries"""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the checkpoints; none while "auto" is not resolved."""
        return self.checkpoints if isinstance(self.checkpoints, tuple) else ()

    @property
    def settings(self) -> dict[str, object]:
        """Settings for a fingerprint; the checkpoints are among the models. Empty if none apply."""
        through = {"through_training": True} if self.through_training else {}
        return {"estimator": {"power": self.power, **through}} if self.is_open else {}

    @property
    def is_open(self) -> bool:
        """Whether there is more than one estimator to choose from."""
        return self.power != 0 or bool(self.folders) or self.through_training


def check_estimator(section: EstimatorSection, model: str, is_selected: bool) -> Iterator[Problem]:
    """Check that the settings of the estimator have an effect.

    Args:
        section: Section of the study.
        model: Path of the final model.
        is_selected: Whether retraining selects the damping, and with it the estimator.
    """
    if model in section.folders:
        expected = "earlier weights than those of [model] path, which are always tried"
        yield Problem("[estimator] checkpoints", expected, format_value(model), "remove it")
    if is_selected:
        return
    values = {name: getattr(section, name) for name in ("power", "through_training")}
    for key, value in {"checkpoints": section.folders, **values}.items():
        if value and value != "auto":
            expected = 'no such key without damping = "auto" and [training]'
            remedy = "remove it; nothing is selected"
            yield Problem(f"[estimator] {key}", expected, format_value(value), remedy)


def check_through_training(
    section: EstimatorSection, models: Sequence[str], candidates: str, solver: str
) -> Iterator[Problem]:
    """Check that effects through the training can be tried: one model, all rows.

    Args:
        section: Section of the study.
        models: Further models of the study.
        candidates: Kind of its candidates.
        solver: Kind of its solver.
    """
    if not section.through_training:
        return
    where, change = "[estimator] through_training", "remove this key, or change that one"
    if models:
        got = f"{len(models)} further models"
        yield Problem(where, "a study of one model, whose training is recorded", got, change)
    if candidates != "full":
        expected = 'candidates of kind "full": one sweep through the training scores every row'
        yield Problem(where, expected, format_value(candidates), change)
    if solver == "lissa":
        expected = "a solver without repeats"
        yield Problem(where, expected, format_value(solver), change)
