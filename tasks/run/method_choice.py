"""What each method of finding candidates would take, and which one a study gets."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.study.sections import AnyCandidates

FULL, SKETCH, ALONE, KNN = "full", "sketch", "sketch alone", "knn"


@dataclass(frozen=True)
class Offer:
    """A method that an audit could take.

    Attributes:
        name: one of `FULL`, `SKETCH`, `ALONE` (scores as sketches give them), `KNN`.
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

        >>> from tasks.study.study.sections import FullScan
        >>> print(Offer(FULL, FullScan(), 75.2, 2**31, 3_000_000))
        75 s, 2.0 GB of memory, 3.0 MB written
        """
        if self.lacks:
            return self.lacks
        memory, disk = self.memory / 2**30, self.disk / 1e6
        return f"{self.seconds:.0f} s, {memory:.1f} GB of memory, {disk:.1f} MB written"


@dataclass(frozen=True)
class MethodChoice:
    """The method that a study was given.

    Attributes:
        name: of the offer that was taken.
        reason: in a sentence.
        offers: all there were.
        fits: whether it was forecast to keep to `[candidates] minutes`.
    """

    name: str
    reason: str
    offers: tuple[Offer, ...]
    fits: bool = True

    @property
    def taken(self) -> Offer:
        """The offer that was taken."""
        return next(offer for offer in self.offers if offer.name == self.name)


def choose(offers: Sequence[Offer], minutes: float | None = None) -> MethodChoice | None:
    """Exact answers before recall, recall before time; None if nothing can be taken.

    1. a full scan, unless sketches whose candidates are scored exactly are quicker: it misses
       nothing;
    2. these sketches;
    3. scores by sketches alone, where they are allowed;
    4. nearest rows, which miss most of what matters.

    The first that is forecast to take no more than `minutes` is taken; if none is, the quickest.

    >>> from tasks.study.study.sections import FullScan, Sketches
    >>> full, sketch = Offer(FULL, FullScan(), 700), Offer(SKETCH, Sketches(k=9), 120)
    >>> choose([full, sketch]).reason
    'Sketches are quicker than a full scan, 120 s against 700 s.'
    >>> choose([full, sketch], minutes=1).reason
    'Nothing is forecast to fit into 1 min; it is the quickest.'
    """
    able = {offer.name: offer for offer in offers if not offer.lacks}
    if not able:
        return None
    limit = float("inf") if minutes is None else 60 * minutes
    fit = {name: offer for name, offer in able.items() if offer.seconds <= limit}
    if not fit:
        quickest = min(able.values(), key=lambda offer: offer.seconds)
        reason = f"Nothing is forecast to fit into {minutes:g} min; it is the quickest."
        return MethodChoice(quickest.name, reason, tuple(offers), fits=False)
    name = next(name for name in _order(fit) if name in fit)
    return MethodChoice(name, _reason(name, offers, minutes), tuple(offers))


def _order(fit: dict[str, Offer]) -> tuple[str, ...]:
    both = FULL in fit and SKETCH in fit
    first = (SKETCH, FULL) if both and fit[SKETCH].seconds < fit[FULL].seconds else (FULL, SKETCH)
    return (*first, ALONE, KNN)


def _reason(name: str, offers: Sequence[Offer], minutes: float | None) -> str:
    by_name = {offer.name: offer for offer in offers}
    full, sketch = by_name[FULL], by_name[SKETCH]
    fits = "can be taken" if minutes is None else f"fits into {minutes:g} min"
    if name == KNN:
        return f"Nothing else {fits}."
    if name == ALONE:
        return f"Nothing with exact scores {fits}, and sketch_scores allows others."
    against = f"{sketch.seconds:.0f} s against {full.seconds:.0f} s"
    if name == SKETCH:
        if full.lacks:
            return f"A full scan cannot be taken: {full.lacks}."
        return f"Sketches are quicker than a full scan, {against}."
    if sketch.lacks:
        return f"It misses nothing, and sketches cannot be taken: {sketch.lacks}."
    return f"It misses nothing, and sketches are no quicker, {against}."
