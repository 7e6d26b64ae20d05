"""Flip set: fewest training examples whose removal or relabelling is predicted to flip a query."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FlipSet:
    """Training examples whose removal or relabelling is predicted to flip a prediction.

    Margins are in logits: that of the present prediction against the largest other class, 0 at the
    flip and negative after it.

    Attributes:
        prediction: Class that is predicted now.
        runner_up: Class with the second largest output now.
        margin: Present margin against the runner-up.
        rival: Class towards which the examples were selected.
        rival_margin: Present margin against that class.
        ids: Positions [k] of the training examples, the largest effect first.
        effects: First-order effect [k] of each: fall of the margin against the rival.
        new_labels: New labels [k]; None if the examples are removed.
        is_flip: Whether the set is predicted to flip the query; else no set of at most `max_rows`
            examples is, and these are the best ones that were tried.
        first_order_size: Size of the smallest set to first order, a bound for every smaller one
            under the same model; None if not even all examples suffice.
        first_order_margin: Predicted margin against the rival to first order.
        one_step_margin: Predicted margin after one Newton step without the examples' old terms.
        corrected_margin: Predicted margin after all Newton steps.
        corrected_prediction: Class predicted there.
        max_rows: Largest number of examples that was tried.
        leverage: Largest eigenvalue of V_S A⁻¹ V_Sᵀ / n, see `GroupRemoval`.
        residual: Largest relative residual of the solves.
        response_residual: Norm of the gradient of the edited objective after all steps, relative to
            that before the first; None without further steps.
        left_out: Positions of training examples without a finite gradient, which no set contains.
        notes: Sentences on what limits the prediction.
    """

    prediction: int
    runner_up: int
    margin: float
    rival: int
    rival_margin: float
    ids: Int[Tensor, " k"]
    effects: Float[Tensor, " k"]
    new_labels: Int[Tensor, " k"] | None
    is_flip: bool
    first_order_size: int | None
    first_order_margin: float
    one_step_margin: float
    corrected_margin: float
    corrected_prediction: int
    max_rows: int
    leverage: float
    residual: float
    response_residual: float | None
    left_out: Int[Tensor, " d"]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def is_better(candidate: FlipSet, best: FlipSet) -> bool:
    """Whether a set is better than the best one: a flip, then fewer examples, then the margin."""
    if candidate.is_flip != best.is_flip:
        return candidate.is_flip
    if candidate.is_flip and len(candidate) != len(best):
        return len(candidate) < len(best)
    return candidate.corrected_margin < best.corrected_margin


class Bracket:
    """Bracket of the smallest size that flips: sizes are tried until two neighbours differ.

    The margin falls with the size nearly always, since every example of the order has a positive
    effect.

    Args:
        limit: Largest size.
        guess: Size to try first.

    Examples:
        >>> bracket = Bracket(limit=50, guess=6)
        >>> bracket.propose_sizes()
        [6, 7, 12]
        >>> bracket.narrow(6, False), bracket.narrow(7, False), bracket.narrow(12, True)
        (None, None, None)
        >>> bracket.propose_sizes()
        [8, 9, 10]
    """

    def __init__(self, limit: int, guess: int) -> None:
        self.limit, self.guess = limit, guess
        self.low, self.high = 0, limit + 1

    def propose_sizes(self) -> list[int]:
        """Return up to three sizes to try next, ascending; none if the bracket is closed."""
        if self.high <= self.limit:
            gap = self.high - self.low
            return sorted({self.low + gap * part // 4 for part in (1, 2, 3)} - {self.low})
        if self.low >= self.limit:
            return []
        first = max(self.guess, min(2 * self.low, self.limit), self.low + 1)
        return sorted(
            {min(size, self.limit) for size in (first, first + max(1, first // 4), 2 * first)}
        )

    def narrow(self, size: int, is_flip: bool) -> None:
        """Take note of whether a size flips."""
        if is_flip:
            self.high = min(self.high, size)
        elif size < self.high:
            self.low = max(self.low, size)
