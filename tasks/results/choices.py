"""What is said of the choices of a run: why, and what is to be doubted about them."""

import json
from collections.abc import Iterator, Sequence

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection
from tasks.run.method_choice import KNN, MethodSelection

MIN_CORRELATION = 0.1
"""Correlation with retraining, below which no λ is better than another."""


def describe_damping_choice(
    choice: DampingSelection, others: Sequence[DampingSelection] = ()
) -> str:
    """How far the chosen λ is to be trusted, for a summary.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> describe_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements))
    'by retraining, which its effects foretell with a correlation of 0.48'
    """
    correlations = ", ".join(f"{other.best_agreement:.2f}" for other in others)
    return (
        f"by {choice.rule}, which its effects foretell with a correlation of "
        f"{choice.best_agreement:.2f}" + (f"; further models {correlations}" if others else "")
    )


def warn_damping_choice(choice: DampingSelection) -> Iterator[str]:
    """What is to be doubted about a choice.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> list(warn_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements)))
    []
    """
    if not choice.best_agreement > MIN_CORRELATION:
        yield (
            f"No damping foretells what retraining does (correlation {choice.best_agreement:.2f}): "
            "the "
            "seeds of training move these queries more than the rows do."
        )
    elif choice.is_at_edge:
        yield (
            f"The chosen damping {choice.damping:.2g} is the last that was tried on its side: a "
            "better one may lie beyond. Set [curvature] damping to compare."
        )


def warn_excluded_models(curvature: str) -> Iterator[str]:
    """Which models of the study are not in the mean, and why.

    >>> model = {"model": "half", "agreement": 0.31, "best": 0.59}
    >>> list(warn_excluded_models(json.dumps({"left_out": [model]})))[0][:54]
    'half is left out of the mean over models: its effects '
    """
    for model in json.loads(curvature).get("left_out", []):
        yield (
            f"{model['model']} is left out of the mean over models: its effects foretell "
            "retraining "
            f"with a correlation of {model['agreement']:.2f}, those of the best with "
            f"{model['best']:.2f}."
        )


def describe_k_selection(choice: KSelection) -> str:
    """What was chosen and why, for a summary.

    >>> from fastif.evaluation.select_k import KTrial
    >>> rung = KTrial(50, 0.97, 0.8, 1.0)
    >>> describe_k_selection(KSelection(50, 0.95, 100, 16, (KTrial(20, 0.8, 0.6, 0.9), rung)))
    'k = 50, the first that holds 0.95 of the top 100: 0.97 (0.80 - 1.00) on 16 queries'
    >>> describe_k_selection(KSelection(None, 0.99, 100, 16, (rung,)))
    'all rows, since no k up to 50 holds 0.99 of the top 100'
    """
    top = f"{choice.target:g} of the top {choice.at}"
    if choice.k is None:
        return f"all rows, since no k up to {_find_largest_k(choice)} holds {top}"
    last = choice.tried[-1]
    reached = f"{last.share:.2f} ({last.low:.2f} - {last.high:.2f}) on {choice.queries} queries"
    return f"k = {choice.k}, the first that holds {top}: {reached}"


def warn_k_selection(choice: KSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """What is to be doubted about a choice, also by the recall on other queries afterwards."""
    if choice.k is None:
        best_share = max((rung.share for rung in choice.tried), default=0.0)
        yield (
            f"No number of candidates up to {_find_largest_k(choice)} reaches [candidates] "
            "target_recall "
            f"{choice.target:g} (at best {best_share:.2f}): every row was scored."
        )
    for recall in recalls:
        is_overall = not any(recall.get(key) for key in ("method", "label", "slice"))
        if is_overall and recall["at"] == choice.at and recall["high"] < choice.target:
            yield (
                f"The k that was chosen to hold {choice.target:g} of the top {choice.at} holds "
                f"{recall['share']:.2f} ({recall['low']:.2f} - {recall['high']:.2f}) for other "
                "queries."
            )


def warn_method_selection(choice: MethodSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """Whether what was taken misses most, or takes longer than it may."""
    if choice.name == KNN:
        yield (
            f"Nearest neighbours miss most of the influential rows, and were taken all the same. "
            f"{choice.reason} They hold {_format_recalls(recalls)}."
        )
    elif not choice.fits:
        yield f"[candidates] minutes: {choice.reason}"


def _find_largest_k(choice: KSelection) -> int:
    return choice.tried[-1].k if choice.tried else 0


def _format_recalls(recalls: Sequence[dict]) -> str:
    overall = [
        recall
        for recall in recalls
        if all(recall.get(key) is None for key in ("method", "label", "slice"))
    ]
    shares = [
        f"{recall['share']:.2f} of the top {recall['at']} ({recall['low']:.2f} - "
        f"{recall['high']:.2f})"
        for recall in overall
    ]
    return ", ".join(shares) or "nobody knows how much, since check = 0"
