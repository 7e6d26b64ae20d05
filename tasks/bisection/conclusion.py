"""Conclusion of a bisection: suspects that a retraining confirms beyond its noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from tasks.bisection.bisect_runs import Bisection
from tasks.bisection.change_groups import ChangeGroup
from tasks.bisection.retraining_noise import measure_noise
from tasks.bisection.slice_losses import half_width

CONFIRMED, WITHIN_NOISE, OPPOSITE = "confirmed", "within noise", "opposite"
UNKNOWN = "noise unknown"
WITHOUT_TRAINING = "the study has no section [training], so no model can be trained again"
NOT_REQUESTED = "no confirmation was requested"
NO_SUSPECT = "no group of changed rows has the direction of the change"


@dataclass(frozen=True, eq=False)
class Retraining:
    """One retraining of the later run's model.

    Attributes:
        group: Group whose change was reverted; None for a control on the unchanged rows.
        seed: Seed of the training.
        differences: Loss of the later run minus that of the retraining, for each common query, in
            nats. Columns: `stratum`, `chosen` (the query is in the slice) and `difference`.
    """

    group: ChangeGroup | None
    seed: int
    differences: pl.DataFrame

    @property
    def effect(self) -> float:
        """Mean difference of the slice: positive where the change of the group raised the loss."""
        chosen = self.differences.filter("chosen")["difference"]
        return float(chosen.mean())  # type: ignore[arg-type]

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval of `effect` over queries."""
        return half_width(self.differences.filter("chosen")["difference"])


@dataclass(frozen=True, eq=False)
class Conclusion:
    """Bisection of two runs with the retrainings that confirm or refute its first suspects.

    Attributes:
        bisection: The bisection, with the noise of retraining if it is known.
        retrainings: Retrainings without one group each, in the order of the suspects, and controls.
        reason: Clause on why nothing was trained again; empty if something was.
    """

    bisection: Bisection
    retrainings: tuple[Retraining, ...] = ()
    reason: str = ""

    def assess(self, group: ChangeGroup) -> str:
        """Return the verdict on a group; empty if it was not reverted in a retraining.

        A group is confirmed if its contribution, and the change of the loss by the retraining
        without its change, have one sign and both exceed the noise of retraining; the latter also
        has to exceed its interval over queries.
        """
        retraining = next((each for each in self.retrainings if each.group is group), None)
        if retraining is None:
            return ""
        contributions = self.bisection.contributions
        value = next(each.value for each in contributions if each.group is group) or 0.0
        if retraining.effect * value <= 0:
            return OPPOSITE
        noise = self.bisection.noise
        if noise is None:
            return UNKNOWN
        is_beyond = min(abs(retraining.effect), abs(value)) > noise.margin
        is_significant = abs(retraining.effect) > retraining.half_width
        return CONFIRMED if is_beyond and is_significant else WITHIN_NOISE

    @property
    def blamed(self) -> tuple[ChangeGroup, ...]:
        """Groups that are confirmed as causes of the change; the larger effect first."""
        known = [each for each in self.retrainings if each.group is not None]
        ordered = sorted(known, key=lambda each: abs(each.effect), reverse=True)
        groups = [each.group for each in ordered if each.group is not None]
        return tuple(group for group in groups if self.assess(group) == CONFIRMED)


def conclude(
    bisection: Bisection, retrainings: Sequence[Retraining], reason: str = ""
) -> Conclusion:
    """Return the conclusion; controls are repeats that the noise is estimated from as well."""
    controls = [each.differences for each in retrainings if each.group is None]
    known = bisection.noise
    noise = measure_noise(controls)
    if known is not None and noise is not None:
        degrees = known.degrees + noise.degrees
        parts = ((known.deviation, known.degrees), (noise.deviation, noise.degrees))
        variance = sum(deviation**2 * count for deviation, count in parts) / degrees
        trainings = known.trainings + noise.trainings
        noise = replace(noise, deviation=math.sqrt(variance), degrees=degrees, trainings=trainings)
    return Conclusion(replace(bisection, noise=noise or known), tuple(retrainings), reason)


def explain_no_retraining(bisection: Bisection, has_recipe: bool, count: int) -> str:
    """Return why nothing can be confirmed, before any model is read; empty if something can.

    Args:
        bisection: Bisection of two runs.
        has_recipe: Whether the study has a section `[training]`.
        count: Number of suspects to confirm.
    """
    if not bisection.suspects:
        return NO_SUSPECT
    if not count:
        return NOT_REQUESTED
    return "" if has_recipe else WITHOUT_TRAINING
