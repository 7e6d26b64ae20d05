"""Description of the estimator that a run selected by retraining, and of the others it tried."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fastif.evaluation.estimator import COSINE, UNROLLED, Estimator
from fastif.evaluation.select_estimator import EstimatorSelection


def describe_estimator(choice: EstimatorSelection, models: Sequence[str]) -> str:
    """Describe the selected estimator by its held-out agreement, for a summary.

    Args:
        choice: Selection of the run.
        models: Names of its models, the final weights first.

    Examples:
        >>> from fastif.evaluation.select_estimator import EstimatorTrial
        >>> final, early = Estimator((0,), (0.1,)), Estimator((1,), (0.2,), 0.5)
        >>> trials = (EstimatorTrial(final, 0.6, 0.5, 0.7), EstimatorTrial(early, 0.8, 0.7, 0.9))
        >>> choice = EstimatorSelection(early, trials, 0.79, 0.68, 0.9, 6, 64)
        >>> print(describe_estimator(choice, ["out/model", "out/model/checkpoint-0.25"]))
        influence at checkpoint-0.25, divided by the row's norm to the power 0.5 (ranking_score): \
correlation with held-out retraining 0.79 (0.68 - 0.90); removal_effect at the final weights 0.60
    """
    text = f"{name_estimator(choice.estimator, models)}: correlation with held-out retraining "
    text += f"{choice.held_out:.2f} ({choice.low:.2f} - {choice.high:.2f})"
    if choice.estimator == choice.simplest.estimator:
        return f"{text}; none of {len(choice.trials)} estimators is clearly better"
    return f"{text}; {name_estimator(choice.simplest.estimator, models, short=True)} " + (
        f"{choice.simplest.agreement:.2f}"
    )


COSINE_MARGIN = 0.05
"""Agreement by which a gradient cosine has to exceed all other estimators for a warning."""


def warn_estimator_choice(
    choice: EstimatorSelection | None, models: Sequence[str]
) -> Iterator[str]:
    """Warn if a gradient cosine predicts retraining clearly better than all effects.

    Args:
        choice: Selection of the run; None without one.
        models: Names of its models, the final weights first.

    Examples:
        >>> from fastif.evaluation.select_estimator import EstimatorTrial
        >>> final, cosine = Estimator((0,), (0.1,)), Estimator((0,), (0.1,), 1.0, COSINE)
        >>> trials = (EstimatorTrial(final, 0.6, 0.5, 0.7), EstimatorTrial(cosine, 0.8, 0.7, 0.9))
        >>> choice = EstimatorSelection(final, trials, 0.6, 0.5, 0.7, 6, 64)
        >>> (warning,) = warn_estimator_choice(choice, ["model"])
        >>> warning[:79]
        'The gradient cosine at the final weights (ranking_score) predicts retraining be'
    """
    if choice is None:
        return
    finite = [trial for trial in choice.trials if math.isfinite(trial.agreement)]
    cosines = [trial for trial in finite if trial.estimator.kind == COSINE]
    effects = [trial.agreement for trial in finite if trial.estimator.kind != COSINE]
    if not cosines or not effects:
        return
    best = max(cosines, key=lambda trial: trial.agreement)
    if best.agreement - max(effects) > COSINE_MARGIN:
        yield (
            f"The {name_estimator(best.estimator, models)} predicts retraining better (correlation "
            f"{best.agreement:.2f}) than all effects ({max(effects):.2f}): rows with long "
            "gradients, such as wrong labels, dominate the effects. Search for wrong labels with "
            "`fastif mislabels`, correct them, and train again."
        )


@dataclass(frozen=True)
class TriedEstimator:
    """Estimator that a run tried, as a row of a table.

    Attributes:
        name: Name of the estimator by its models and normalisation.
        agreement: Correlation with retraining on the halves, mean over the control queries.
        interval: 95 % interval of the agreement.
        is_selected: Whether the run ranks by it.
        role: "selected", "simplest" or nothing.
    """

    name: str
    agreement: float
    interval: tuple[float, float]
    is_selected: bool
    role: str


def list_tried_estimators(
    choice: EstimatorSelection, models: Sequence[str]
) -> list[TriedEstimator]:
    """List the estimators that a run tried, the best agreement first.

    Args:
        choice: Selection of the run.
        models: Names of its models, the final weights first.

    Examples:
        >>> from fastif.evaluation.select_estimator import EstimatorTrial
        >>> final, early = Estimator((0,), (0.1,)), Estimator((1,), (0.2,))
        >>> trials = (EstimatorTrial(final, 0.6, 0.5, 0.7), EstimatorTrial(early, 0.8, 0.7, 0.9))
        >>> choice = EstimatorSelection(early, trials, 0.79, 0.68, 0.9, 6, 64)
        >>> rows = list_tried_estimators(choice, ["model", "model/checkpoint-0.25"])
        >>> [(row.name.removeprefix("influence at "), row.role) for row in rows]
        [('checkpoint-0.25', 'selected'), ('the final weights', 'simplest')]
    """

    def describe_role(estimator: Estimator) -> str:
        if estimator == choice.estimator:
            return "selected"
        return "simplest" if estimator == choice.simplest.estimator else ""

    ordered = sorted(choice.trials, key=lambda trial: -trial.agreement)
    return [
        TriedEstimator(
            name_estimator(trial.estimator, models),
            trial.agreement,
            (trial.low, trial.high),
            trial.estimator == choice.estimator,
            describe_role(trial.estimator),
        )
        for trial in ordered
    ]


def name_estimator(estimator: Estimator, models: Sequence[str], *, short: bool = False) -> str:
    """Name an estimator by its models and its normalisation.

    Examples:
        >>> name_estimator(Estimator((0, 1), (0.1, 0.2)), ["model", "model/checkpoint-0.5"])
        'influence, mean of the final weights and checkpoint-0.5'
    """
    names = [_name_model(place, models) for place in estimator.models]
    where = f" at {names[0]}" if len(names) == 1 else f", mean of {_join(names)}"
    if estimator.kind == COSINE:
        return f"gradient cosine{where} (ranking_score)"
    if short and not estimator.power:
        return f"removal_effect{where}"
    if estimator.kind == UNROLLED:
        where = " through the training"
    power = f", divided by the row's norm to the power {estimator.power:g} (ranking_score)"
    return f"influence{where}{power if estimator.power else ''}"


def _name_model(place: int, models: Sequence[str]) -> str:
    return "the final weights" if place == 0 else PurePath(models[place]).name


def _join(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
