"""What each method of finding candidates would take, and which one a study gets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.study.any_candidates import AnyCandidates

FULL, SKETCH, SKETCH_ONLY, KNN = "full", "sketch", "sketch alone", "knn"


@dataclass(frozen=True)
class MethodEstimate:
    """A method that an audit could take.

    Attributes:
        name: one of `FULL`, `SKETCH`, `SKETCH_ONLY` (scores as sketches give them), `KNN`.
        candidates: the section that stands for it in a study file.
        seconds: of the whole audit.
        memory: peak bytes of the process.
        disk: bytes added to the store.
        lacks: why it cannot be taken; empty if it can.
    """

    name: str
    candidates: AnyCandidates
    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    lacks: str = ""

    def __str__(self) -> str:
        """In a few words.

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
    """The method that a study was given.

    Attributes:
        name: of the offer that was taken.
        reason: in a sentence.
        offers: all there were.
        fits: whether it was forecast to keep to `[candidates] minutes`.
    """

    name: str
    reason: str
    offers: tuple[MethodEstimate, ...]
    fits: bool = True

    @property
    def selected(self) -> MethodEstimate:
        """The offer that was taken."""
        return next(offer for offer in self.offers if offer.name == self.name)


def select_method(
    offers: Sequence[MethodEstimate], minutes: float | None = None
) -> MethodSelection | None:
    """Exact answers before recall, recall before time; None if nothing can be taken.

    1. a full scan, unless sketches whose candidates are scored exactly are quicker: it misses
       nothing;
    2. these sketches;
    3. scores by sketches alone, where they are allowed;
    4. nearest rows, which miss most of what matters.

    The first that is forecast to take no more than `minutes` is taken; if none is, the quickest.

    >>> from tasks.study.candidates import FullScanSection
    >>> from tasks.study.index_sections import SketchSection
    >>> full = MethodEstimate(FULL, FullScanSection(), 700)
    >>> sketch = MethodEstimate(SKETCH, SketchSection(k=9), 120)
    >>> select_method([full, sketch]).reason
    'Sketches are quicker than a full scan, 120 s against 700 s.'
    >>> select_method([full, sketch], minutes=1).reason
    'Nothing is forecast to fit into 1 min; it is the quickest.'
    """
    available = {offer.name: offer for offer in offers if not offer.lacks}
    if not available:
        return None
    limit = float("inf") if minutes is None else 60 * minutes
    within_limit = {name: offer for name, offer in available.items() if offer.seconds <= limit}
    if not within_limit:
        quickest = min(available.values(), key=lambda offer: offer.seconds)
        reason = f"Nothing is forecast to fit into {minutes:g} min; it is the quickest."
        return MethodSelection(quickest.name, reason, tuple(offers), fits=False)
    name = next(name for name in _order_by_preference(within_limit) if name in within_limit)
    return MethodSelection(name, _explain_selection(name, offers, minutes), tuple(offers))


def describe_method_selection(choice: MethodSelection) -> Iterator[tuple[str, str]]:
    """What was chosen and why, and what each method was forecast to take, for a summary."""
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
    fitness = "can be taken" if minutes is None else f"fits into {minutes:g} min"
    if name == KNN:
        return f"Nothing else {fitness}."
    if name == SKETCH_ONLY:
        return f"Nothing with exact scores {fitness}, and sketch_scores allows others."
    comparison = f"{sketch.seconds:.0f} s against {full.seconds:.0f} s"
    if name == SKETCH:
        if full.lacks:
            return f"A full scan cannot be taken: {full.lacks}."
        return f"Sketches are quicker than a full scan, {comparison}."
    if sketch.lacks:
        return f"It misses nothing, and sketches cannot be taken: {sketch.lacks}."
    return f"It misses nothing, and sketches are no quicker, {comparison}."
