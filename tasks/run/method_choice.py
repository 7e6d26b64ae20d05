"""Selection of the candidate method of a study by forecast."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage import RunRecord, compute_fingerprint
from tasks.study.any_candidates import AnyCandidates

FULL, SKETCH, SKETCH_ONLY, KNN = "full", "sketch", "sketch alone", "knn"


@dataclass(frozen=True)
class MethodEstimate:
    """Candidate method with its forecast.

    Attributes:
        name: `FULL`, `SKETCH`, `SKETCH_ONLY` (scores are inner products of sketches) or `KNN`.
        candidates: Section `[candidates]` that stands for the method.
        seconds: Forecast time of the whole audit, in seconds.
        memory: Forecast peak memory of the process, in bytes.
        disk: Bytes to be added to the store.
        lacks: Reason why the method is unavailable; empty if it is available.
    """

    name: str
    candidates: AnyCandidates
    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    lacks: str = ""

    def __str__(self) -> str:
        """Return the forecast in one line, or the reason why the method is unavailable.

        Examples:
            >>> from tasks.study.candidates import FullScanSection
            >>> print(MethodEstimate(FULL, FullScanSection(), 75.2, 2**31, 3_000_000))
            75 s, 2.0 GB of memory, 3.0 MB written
        """
        if self.lacks:
            return self.lacks
        memory, disk = self.memory / 2**30, self.disk / 1e6
        return f"{self.seconds:.0f} s, {memory:.1f} GB of memory, {disk:.1f} MB written"


@dataclass(frozen=True)
class MethodSelection:
    """Selected candidate method of a study.

    Attributes:
        name: Name of the selected method.
        reason: One sentence for the user.
        offers: All methods with their forecasts.
        fits: Whether the method is forecast to finish within `[candidates] minutes`.
    """

    name: str
    reason: str
    offers: tuple[MethodEstimate, ...]
    fits: bool = True

    @property
    def selected(self) -> MethodEstimate:
        """Estimate of the selected method."""
        return next(offer for offer in self.offers if offer.name == self.name)


def select_method(
    offers: Sequence[MethodEstimate], minutes: float | None = None
) -> MethodSelection | None:
    """Select the method with the best recall that is forecast to finish within `minutes`.

    Order of preference:

    1. a full scan, which has full recall, unless sketches with exact rescoring are faster;
    2. sketches with exact rescoring;
    3. scores by sketches only, if the study allows them;
    4. k nearest neighbours, which has the lowest recall.

    If no method fits, the fastest is selected.

    Args:
        offers: All methods with their forecasts.
        minutes: Time budget in minutes; None for no limit.

    Returns:
        The selection; None if no method is available.

    Examples:
        >>> from tasks.study.candidates import FullScanSection
        >>> from tasks.study.index_sections import SketchSection
        >>> full = MethodEstimate(FULL, FullScanSection(), 700)
        >>> sketch = MethodEstimate(SKETCH, SketchSection(k=9), 120)
        >>> select_method([full, sketch]).reason
        'Sketches are faster than a full scan: 120 s against 700 s.'
        >>> select_method([full, sketch], minutes=1).reason
        'No method is forecast to finish within 1 min; this is the fastest.'
    """
    available = {offer.name: offer for offer in offers if not offer.lacks}
    if not available:
        return None
    limit = float("inf") if minutes is None else 60 * minutes
    within_limit = {name: offer for name, offer in available.items() if offer.seconds <= limit}
    if not within_limit:
        fastest = min(available.values(), key=lambda offer: offer.seconds)
        reason = f"No method is forecast to finish within {minutes:g} min; this is the fastest."
        return MethodSelection(fastest.name, reason, tuple(offers), fits=False)
    name = next(name for name in _order_by_preference(within_limit) if name in within_limit)
    return MethodSelection(name, _explain_selection(name, offers, minutes), tuple(offers))


def describe_method_selection(choice: MethodSelection) -> Iterator[tuple[str, str]]:
    """Yield the selected method with its reason, then the forecast of each method."""
    yield "method chosen", f"{choice.name}. {choice.reason}"
    for offer in choice.offers:
        yield f"  {offer.name}", f"{offer}"


def _order_by_preference(within_limit: dict[str, MethodEstimate]) -> tuple[str, ...]:
    has_both = FULL in within_limit and SKETCH in within_limit
    first = (
        (SKETCH, FULL)
        if has_both and within_limit[SKETCH].seconds < within_limit[FULL].seconds
        else (FULL, SKETCH)
    )
    return (*first, SKETCH_ONLY, KNN)


def _explain_selection(name: str, offers: Sequence[MethodEstimate], minutes: float | None) -> str:
    by_name = {offer.name: offer for offer in offers}
    full, sketch = by_name[FULL], by_name[SKETCH]
    fitness = "is available" if minutes is None else f"fits into {minutes:g} min"
    if name == KNN:
        return f"No other method {fitness}."
    if name == SKETCH_ONLY:
        return f"No method with exact scores {fitness}, and sketch_scores allows approximate ones."
    comparison = f"{sketch.seconds:.0f} s against {full.seconds:.0f} s"
    if name == SKETCH:
        if full.lacks:
            return f"A full scan is not available: {full.lacks}."
        return f"Sketches are faster than a full scan: {comparison}."
    if sketch.lacks:
        return f"It scores every training row, and sketches are not available: {sketch.lacks}."
    return f"It scores every training row, and sketches are not faster: {comparison}."


def method_digest(record: RunRecord) -> str:
    """Return the cache key of the selection of the candidate method: the run's fingerprint.

    Measured times are not part of it.
    """
    return compute_fingerprint({"run": record.fingerprint})
