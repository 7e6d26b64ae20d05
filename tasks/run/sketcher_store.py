"""The sketcher in the store: the same for nearly the same rows, or fitted and kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from safetensors.torch import load_file, save_file

import fastif
from fastif.candidates import (
    GradientSketcher,
)
from storage import Store, StoreError, compute_fingerprint
from tasks.run import artifact_keys as digests
from tasks.run.context import RunContext
from tasks.run.curvature import make_gauss_newton
from tasks.run.hidden_states import get_train_examples
from tasks.run.row_chunks import (
    ROWS_FILE,
    make_digest_frame,
)
from tasks.runtime.progress import progress_stage
from tasks.study.index_sections import SketchSection

MIN_SHARED_ROWS = 0.9
"""Least share of its rows that a training table has in common with the one a sketcher was fitted
to. A basis drawn from nearly the same rows is as good, and keeps the sketches of all of them."""
SKETCHER = "sketcher.safetensors"


@dataclass(frozen=True)
class SketcherRef:
    """A sketcher in the store, and the kind of its blocks."""

    digest: str

    @property
    def train_kind(self) -> str:
        """Kind of the parts that hold its sketches."""
        return f"sketches-{self.digest[:16]}"

    @property
    def query_kind(self) -> str:
        """Kind of the parts that hold those of queries."""
        return f"asked-{self.digest[:16]}"


def read_sketcher(store: Store, digest: str, objective: fastif.Objective) -> GradientSketcher:
    """The sketcher of this digest.

    Raises:
        StoreError: it is gone or damaged, and a run that goes on with it cannot fit it again.
    """
    artifact = store.find_artifact("sketcher", digest)
    if artifact is None:
        raise StoreError(
            store.layout.artifact("sketcher", digest),
            expected="the sketcher that the earlier night was computed with",
            got="none, or a damaged one (see `fastif verify`)",
            remedy="Put its files back from a copy, or take out [carry] to begin anew.",
        )
    return GradientSketcher.from_state_dict(load_file(artifact / SKETCHER), objective)


def find_or_fit_sketcher(
    context: RunContext, method: SketchSection, rows: Sequence[bytes]
) -> SketcherRef:
    """A sketcher that was fitted to the same rows, or nearly so, or a new one."""
    family = digests.sketch_family(context, method)
    reusable = find_parent_sketcher(context) or find_reusable_sketcher(
        context.store, family, rows, method
    )
    if reusable is not None:
        return reusable
    sketcher_ref = SketcherRef(
        compute_fingerprint({"family": family, "rows": [row.hex() for row in sorted(rows)]})
    )
    sketcher = _fit_sketcher(context, method)
    state = {name: tensor.contiguous() for name, tensor in sketcher.state_dict().items()}
    context.store.write_artifact(
        "sketcher", sketcher_ref.digest, lambda folder: save_file(state, folder / SKETCHER)
    )
    frame = make_digest_frame(rows)
    context.store.write_artifact(
        format_family_kind(family),
        sketcher_ref.digest,
        lambda folder: frame.write_parquet(folder / ROWS_FILE),
    )
    return sketcher_ref


def find_parent_sketcher(context: RunContext) -> SketcherRef | None:
    """The sketcher of the run that this one goes on from."""
    lineage = context.plan.lineage
    return SketcherRef(lineage.sketcher) if lineage and lineage.sketcher else None


def format_family_kind(family: str) -> str:
    """Kind of the parts that name the rows of each sketcher of a family."""
    return f"sketchers-{family[:16]}"


def find_reusable_sketcher(
    store: Store, family: str, rows: Sequence[bytes], method: SketchSection
) -> SketcherRef | None:
    """The sketcher that was fitted to most of these rows, if it was to enough of them.

    Scores by sketches alone are those of its curvature, so that it has to be of these very rows.
    """
    min_share = MIN_SHARED_ROWS if method.rescore else 1.0
    folders = store.find_artifacts(format_family_kind(family))
    shares = {
        name: _compute_row_overlap(folder, rows)
        for name, folder in folders.items()
        if store.find_artifact("sketcher", name) is not None
    }
    best = max(sorted(shares), key=lambda name: shares[name], default=None)
    return SketcherRef(best) if best is not None and shares[best] >= min_share else None


def _compute_row_overlap(folder: Path, rows: Sequence[bytes]) -> float:
    """Distinct rows that two tables have in common, of all that either has."""
    before, now = set(pl.read_parquet(folder / ROWS_FILE)["row"].to_list()), set(rows)
    return len(before & now) / len(before | now)


def _fit_sketcher(context: RunContext, method: SketchSection) -> GradientSketcher:
    with progress_stage("sketches: directions of curvature", None) as watch:
        return GradientSketcher.fit(
            make_gauss_newton(context, watch(get_train_examples(context))),
            context.damping,
            dimensions=method.dimensions,
            width=method.width,
            energy=method.energy,
            seed=context.study.curvature.seed,
        )
