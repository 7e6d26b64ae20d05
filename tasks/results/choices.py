"""Descriptions of and warnings about the automatic choices of a run: damping, k, method, models."""

import json
from collections.abc import Iterator, Mapping, Sequence

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection
from tasks.results.candidate_recall import select_overall
from tasks.run.agreement import MIN_AGREEMENT, AgreementRecord
from tasks.run.method_choice import KNN, MethodSelection
from tasks.run.selections import PRECISION

SPECTRUM = "spectrum"
"""Rule of a damping that was not compared with retraining."""

_RETRAIN = (
    'With the training recipe in [training], damping = "auto" measures which damping predicts '
    "retraining best; or set"
)

MIN_CORRELATION = 0.1
"""Least correlation with retraining at which one λ can be called better than another."""


def describe_damping_choice(
    choice: DampingSelection, others: Sequence[DampingSelection] = ()
) -> str:
    """Describe the chosen λ by its correlation with retraining, for a summary.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> describe_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements))
    'by retraining: correlation of predicted and actual changes 0.48'
    >>> describe_damping_choice(DampingSelection(0.1, "spectrum", (0.1,), (float("nan"),)))[:64]
    'by spectrum: a share of the largest eigenvalue of the curvature '
    """
    if choice.rule == SPECTRUM:
        return (
            "by spectrum: a share of the largest eigenvalue of the curvature at the model's first "
            "audit, not compared with retraining"
        )
    correlations = ", ".join(f"{other.best_agreement:.2f}" for other in others)
    return (
        f"by {choice.rule}: correlation of predicted and actual changes "
        f"{choice.best_agreement:.2f}" + (f"; further models {correlations}" if others else "")
    )


def warn_damping_choice(choice: DampingSelection, is_retrainable: bool = True) -> Iterator[str]:
    """Warn of a damping that no retraining supports, or that lies at the edge of the grid.

    Args:
        choice: Record of the choice.
        is_retrainable: Whether a section [training] could describe the model's training.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> list(warn_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements)))
    []
    """
    if choice.rule == SPECTRUM:
        yield (
            f"The damping {choice.damping:.2g} is a rule of thumb, and rankings depend on it. "
            + (_RETRAIN if is_retrainable else "Set")
            + " [curvature] damping to a tenth and to ten times it, and compare."
        )
    elif not choice.best_agreement > MIN_CORRELATION:
        yield (
            "Effects predict the outcome of retraining at no damping (correlation "
            f"{choice.best_agreement:.2f}): the seed of training changes these queries more than "
            "the training rows do."
        )
    elif choice.is_at_edge:
        yield (
            f"The chosen damping {choice.damping:.2g} is at the edge of the grid that was tried: a "
            "better one may lie beyond it. Set [curvature] damping to compare."
        )


def warn_low_agreement(agreement: AgreementRecord) -> Iterator[str]:
    """Warn of a sample of curvature rows whose effects differ from those of all rows.

    >>> list(warn_low_agreement(AgreementRecord(lacks="it would take 2 h")))
    []
    """
    if agreement.measured is None or agreement.measured.in_use.pearson >= MIN_AGREEMENT:
        return
    point = agreement.measured.in_use
    yield (
        f"Effects by the curvature of {point.rows:,} rows correlate only {point.pearson:.2f} with "
        f"those by all rows. Set [curvature] rows to {2 * point.rows} or more, or a larger damping."
    )


def warn_excluded_models(curvature: str) -> Iterator[str]:
    """Warn of models that were excluded from the ensemble mean.

    >>> model = {"model": "half", "agreement": 0.31, "best": 0.59}
    >>> list(warn_excluded_models(json.dumps({"left_out": [model]})))[0][:54]
    'half is left out of the mean over models: its effects '
    """
    for model in json.loads(curvature).get("left_out", []):
        yield (
            f"{model['model']} is left out of the mean over models: its effects correlate "
            f"{model['agreement']:.2f} with retraining, those of the best model "
            f"{model['best']:.2f}."
        )


def describe_k_selection(choice: KSelection) -> str:
    """Describe the number of candidates that was chosen by `target_recall`, for a summary.

    >>> from fastif.evaluation.select_k import KTrial
    >>> rung = KTrial(50, 0.97, 0.8, 1.0)
    >>> describe_k_selection(KSelection(50, 0.95, 100, 16, (KTrial(20, 0.8, 0.6, 0.9), rung)))
    'k = 50, the smallest with recall 0.95 of the top 100: 0.97 (0.80 - 1.00) on 16 queries'
    >>> describe_k_selection(KSelection(None, 0.99, 100, 16, (rung,)))
    'all rows, since no k up to 50 has recall 0.99 of the top 100'
    """
    top = f"{choice.target:g} of the top {choice.at}"
    if choice.k is None:
        return f"all rows, since no k up to {_find_largest_k(choice)} has recall {top}"
    last = choice.tried[-1]
    reached = f"{last.share:.2f} ({last.low:.2f} - {last.high:.2f}) on {choice.queries} queries"
    return f"k = {choice.k}, the smallest with recall {top}: {reached}"


def warn_k_selection(choice: KSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """Warn of a k that misses the target recall, on the tuning queries or on other ones later."""
    if choice.k is None:
        best_share = max((rung.share for rung in choice.tried), default=0.0)
        yield (
            f"No number of candidates up to {_find_largest_k(choice)} reaches [candidates] "
            f"target_recall {choice.target:g} (best: {best_share:.2f}), so every row was scored."
        )
    for recall in recalls:
        is_overall = not any(recall.get(key) for key in ("method", "label", "slice"))
        if is_overall and recall["at"] == choice.at and recall["high"] < choice.target:
            yield (
                f"The chosen k was to reach recall {choice.target:g} of the top {choice.at}, but "
                f"on other queries its recall is {recall['share']:.2f} "
                f"({recall['low']:.2f} - {recall['high']:.2f})."
            )


def warn_method_selection(choice: MethodSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """Warn of a method that misses most influential rows, or that exceeds the time limit."""
    if choice.name == KNN:
        yield (
            f"Nearest neighbours miss most of the influential rows. {choice.reason} "
            f"Their recall: {_format_recalls(recalls)}."
        )
    elif not choice.fits:
        yield f"[candidates] minutes: {choice.reason}"


def _find_largest_k(choice: KSelection) -> int:
    return choice.tried[-1].k if choice.tried else 0


def _format_recalls(recalls: Sequence[dict]) -> str:
    shares = [
        f"{recall['share']:.2f} of the top {recall['at']} ({recall['low']:.2f} - "
        f"{recall['high']:.2f})"
        for recall in select_overall(recalls)
    ]
    return ", ".join(shares) or "unknown, since check = 0"


def describe_precision(facts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Describe the selected precision of scores; nothing if none was tried.

    Args:
        facts: Row of the table `runs`; empty before the run has finished.
    """
    selection = PRECISION.parse_column(str(facts["candidates"])) if facts else None
    if selection is not None:
        yield "precision chosen", f"{selection}"
