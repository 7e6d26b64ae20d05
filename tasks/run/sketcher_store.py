"""Stored sketchers: reused for training tables that share most rows, or fitted again."""

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
"""Minimum Jaccard index of a training table and the one a sketcher was fitted to. A basis fitted to
nearly the same rows is as good, and the sketches of the common rows can be reused."""
SKETCHER = "sketcher.safetensors"


@dataclass(frozen=True)
class SketcherRef:
    """Reference to a sketcher in the store.

    Attributes:
        digest: Cache key of the sketcher.
    """

    digest: str

    @property
    def train_kind(self) -> str:
        """Kind of the artifacts that hold its sketches of training rows."""
        return f"sketches-{self.digest[:16]}"

    @property
    def query_kind(self) -> str:
        """Kind of the artifacts that hold its sketches of queries."""
        return f"asked-{self.digest[:16]}"


def read_sketcher(store: Store, digest: str, objective: fastif.Objective) -> GradientSketcher:
    """Read a sketcher from the store.

    Raises:
        StoreError: It is missing or damaged; an incremental run cannot fit it again.
    """
    artifact = store.find_artifact("sketcher", digest)
    if artifact is None:
        raise StoreError(
            store.layout.artifact("sketcher", digest),
            expected="the sketcher of the parent run",
            got="none, or a damaged one (see `fastif verify`)",
            remedy="Restore its files from a backup, or remove [carry] for a full run.",
        )
    return GradientSketcher.from_state_dict(load_file(artifact / SKETCHER), objective)


def find_or_fit_sketcher(
    context: RunContext, method: SketchSection, rows: Sequence[bytes]
) -> SketcherRef:
    """Return a stored sketcher that was fitted to (nearly) the same rows, or fit a new one."""
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
    """Return the sketcher of the parent run; None for a full run."""
    lineage = context.plan.lineage
    return SketcherRef(lineage.sketcher) if lineage and lineage.sketcher else None


def format_family_kind(family: str) -> str:
    """Return the kind of the artifacts that list the rows of each sketcher of a family."""
    return f"sketchers-{family[:16]}"


def find_reusable_sketcher(
    store: Store, family: str, rows: Sequence[bytes], method: SketchSection
) -> SketcherRef | None:
    """Return the sketcher of a family that shares the most rows, if it shares enough.

    With exact rescoring the share has to be at least `MIN_SHARED_ROWS`. Scores by sketches only
    need a sketcher of exactly these rows, since its curvature determines the scores.
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
    """Return the Jaccard index of the distinct rows of two tables."""
    before, now = set(pl.read_parquet(folder / ROWS_FILE)["row"].to_list()), set(rows)
    return len(before & now) / len(before | now)


def _fit_sketcher(context: RunContext, method: SketchSection) -> GradientSketcher:
    with progress_stage("sketches: principal directions of the curvature", None) as watch:
        return GradientSketcher.fit(
            make_gauss_newton(context, watch(get_train_examples(context))),
            context.damping,
            dimensions=method.dimensions,
            width=method.width,
            energy=method.energy,
            seed=context.study.curvature.seed,
        )
