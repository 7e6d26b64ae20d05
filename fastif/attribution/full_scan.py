"""Full scan: the effects of all training examples, of which each query keeps the extreme ones.

On a device the host does not wait for a tile: masks, sums and the kept scores stay there, checks
are assumed (`fastif.numerics.deferred_checks`), and all of them are read at the end. So the host
prepares the passes of the next tiles while the device computes. If a check failed, the scan is
repeated with checks that are read at once. The result is the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.ranking import Ranking
from fastif.attribution.scorers import Effects, Scorer, average_effects
from fastif.attribution.slice_totals import SliceTotals
from fastif.data.examples import all_ids
from fastif.numerics.deferred_checks import defer_checks
from fastif.numerics.out_of_memory import split_on_oom
from fastif.numerics.top_bottom_k import TopBottomK


@dataclass(frozen=True, eq=False)
class ScannedExtremes:
    """Kept training examples of each query, in ascending order of the first column.

    Attributes:
        ids: Positions in the training set.
        columns: Ranking scores (only with a `Ranking`), removal effects, and their spread (only
            for several models).
        nonfinite_ids: Positions of training examples without a finite gradient.
    """

    ids: Int[Tensor, "q k"]
    columns: tuple[Float[Tensor, "q k"], ...]
    nonfinite_ids: Int[Tensor, " d"]


@dataclass(frozen=True, eq=False)
class _Scan:
    """Scan in progress: what was kept of the tiles so far.

    Attributes:
        extremes: Kept scores.
        totals: Sums over slices of queries; None without slices.
        ids: Positions of each tile.
        masks: Mask of the finite gradients of each tile.
        sums: Sums over slices of each tile, while they are on a device.
    """

    extremes: TopBottomK
    totals: SliceTotals | None
    ids: list[Int[Tensor, " b"]] = field(default_factory=list)
    masks: list[Bool[Tensor, " b"]] = field(default_factory=list)
    sums: list[Float[Tensor, "s b"]] = field(default_factory=list)

    def add(self, ids: Int[Tensor, " b"], effects: Effects) -> None:
        """Add the effects of a tile, without a read of the device that they are on."""
        columns = (effects.ranking, effects.values, effects.spread)
        finite = effects.finite
        self.extremes.add(ids, *(column for column in columns if column is not None), valid=finite)
        self.ids.append(ids)
        self.masks.append(finite)
        if self.totals is not None:
            self.sums.append(self.totals.sum_slices(effects.values))
            if finite.device.type == "cpu":
                self.write_sums()

    def find_nonfinite(self) -> Int[Tensor, " d"]:
        """Return the positions of the examples without a finite gradient, in ascending order."""
        return torch.cat(self.ids)[~torch.cat(self.masks).cpu()].sort().values

    def write_sums(self) -> None:
        """Write the sums over slices of the last tiles to the totals, and let go of them."""
        recent = -len(self.sums) or len(self.ids)
        tiles = zip(self.ids[recent:], self.masks[recent:], self.sums, strict=True)
        for ids, mask, sums in tiles:
            assert self.totals is not None
            kept = mask.cpu()
            self.totals.write(ids[kept], sums.cpu()[:, kept])
        self.sums.clear()

    def get_result(self) -> ScannedExtremes:
        """Return the kept scores, and write the sums over slices."""
        self.write_sums()
        ids, first, others = self.extremes.get_result()
        return ScannedExtremes(ids, (first, *others), self.find_nonfinite())


def scan_all(
    scorers: Sequence[Scorer],
    keep: int | None,
    totals: SliceTotals | None,
    ranking: Ranking | None,
    buckets: Iterable[Tensor] | None = None,
) -> ScannedExtremes:
    """Compute the effects of all training examples, and keep `keep` at each end; all if None.

    With `buckets` it is a scan of these batches of positions alone; a repetition starts from the
    first of them again.
    """

    def start() -> _Scan:
        attached = (ranking is not None) + (len(scorers) > 1)
        return _Scan(TopBottomK(scorers[0].queries, keep, attached), totals)

    if scorers[0].like.device.type != "cpu":
        scan = start()
        if _scan_deferred(scorers, scan, ranking, buckets):
            return scan.get_result()
    scan, train_ids = start(), all_ids(scorers[0].train)
    for tile, effects in iterate_effects(scorers, train_ids, ranking, buckets):
        scan.add(train_ids[tile], effects)
    return scan.get_result()


def _scan_deferred(
    scorers: Sequence[Scorer],
    scan: _Scan,
    ranking: Ranking | None,
    buckets: Iterable[Tensor] | None,
) -> bool:
    """Scan with deferred checks, and return whether all of them hold.

    They are read after 1, 2, 4, 8, ... tiles, so that a failed one costs at most as much again as
    the tiles up to it.
    """
    train_ids = all_ids(scorers[0].train)
    with defer_checks(scorers[0].like.device) as checks:
        try:
            tiles = iterate_effects(scorers, train_ids, ranking, buckets)
            for number, (tile, effects) in enumerate(tiles, 1):
                scan.add(train_ids[tile], effects)
                if number.bit_count() == 1 and not checks.read():
                    return False
        except Exception:
            if checks.read():
                raise
            return False
        if not checks.read():
            return False
    return _are_nonfinite(scorers, scan.find_nonfinite())


def _are_nonfinite(scorers: Sequence[Scorer], ids: Int[Tensor, " m"]) -> bool:
    """Whether no example has a finite gradient, computed again for the examples themselves."""
    tiles = iterate_effects(scorers, ids, None)
    return not any(bool(effects.finite.any()) for _, effects in tiles)


def iterate_effects(
    scorers: Sequence[Scorer],
    ids: Int[Tensor, " m"],
    ranking: Ranking | None,
    buckets: Iterable[Tensor] | None = None,
) -> Iterator[tuple[Int[Tensor, " b"], Effects]]:
    """Yield positions in `ids` and their effects; batches are halved when memory runs out."""

    def compute(subset: Tensor) -> Effects:
        effects = average_effects(scorers, ids[subset])
        if ranking is None:
            return effects
        return replace(effects, ranking=ranking.score(ids[subset], effects.values))

    train = scorers[0].train
    for positions in train.announced_buckets(ids) if buckets is None else buckets:
        yield from split_on_oom(compute, positions)
