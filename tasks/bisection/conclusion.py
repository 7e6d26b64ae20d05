"""Conclusion of a bisection: suspects that a retraining confirms, against the noise of retraining."""

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


@dataclass(frozen=True, eq=False)
class Retraining:
    """One retraining of the later run's model.

    Attributes:
        group: Group whose change was reverted; None for a control on the unchanged rows.
        seed: Seed of the training.
        differences: Loss of the later run minus that of the retraining, for each query of the
            slice, in nats; columns `label` and `difference`.
    """

    group: ChangeGroup | None
    seed: int
    differences: pl.DataFrame

    @property
    def effect(self) -> float:
        """Mean of the differences: positive where the change of the group raised the loss."""
        return float(self.differences["difference"].mean())  # type: ignore[arg-type]

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval of `effect` over queries."""
        return half_width(self.differences["difference"])


@dataclass(frozen=True, eq=False)
class Conclusion:
    """A bisection with the retrainings that confirm or refute its first suspects.

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

        A group is confirmed if the retraining without its change moves the loss back by more than
        both the noise of retraining and the uncertainty of the mean over queries.
        """
        retraining = next((each for each in self.retrainings if each.group is group), None)
        if retraining is None:
            return ""
        if retraining.effect * self.bisection.losses.change <= 0:
            return OPPOSITE
        noise = self.bisection.noise
        if noise is None:
            return UNKNOWN
        bound = max(noise.margin, retraining.half_width)
        return CONFIRMED if abs(retraining.effect) > bound else WITHIN_NOISE

    @property
    def blamed(self) -> tuple[ChangeGroup, ...]:
        """Groups that are confirmed as causes of the change; the larger effect first."""
        known = [each for each in self.retrainings if each.group is not None]
        ordered = sorted(known, key=lambda each: -abs(each.effect))
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
