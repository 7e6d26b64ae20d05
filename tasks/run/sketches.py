"""Sketches of the training rows, kept in blocks and made once for each row.

Three kinds of parts: the sketcher; blocks of sketches, found again by the digests of the rows in
them; and, for each state of the training table, the list of where its rows lie. A killed run loses
one block at most, and rows that are added or changed later are all that is sketched then.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch
from safetensors.torch import load_file, save_file

import fastif
from fastif.candidates.sketch_index import Block, StoredSketches
from storage import Store, StoreError, fingerprint
from tasks.data.row_hashes import row_digests
from tasks.run import artifact_keys as digests
from tasks.run.row_chunks import (
    ROWS_FILE,
    digest_frame,
    keep_block,
    mapped,
    missing_rows,
)
from tasks.runtime.progress import stage
from tasks.study.sections import Sketches

if TYPE_CHECKING:  # a job reads its sketches here
    from tasks.run.context import Job

ROWS = 8192
"""Sketches a block: what a killed run loses at most."""

REUSE = 0.9
"""Least share of its rows that a training table has in common with the one a sketcher was fitted
to. A basis drawn from nearly the same rows is as good, and keeps the sketches of all of them."""

TRAINED_ON = 100_000
"""Sketches that an approximate index learns its cells from."""

SKETCHER, SKETCHES = "sketcher.safetensors", "sketches.safetensors"
LIST, INDEX = "sketches.json", "index.faiss"


@dataclass(frozen=True)
class Fitted:
    """A sketcher in the store, and the kind of its blocks."""

    digest: str

    @property
    def blocks(self) -> str:
        """Kind of the parts that hold its sketches."""
        return f"sketches-{self.digest[:16]}"

    @property
    def asked(self) -> str:
        """Kind of the parts that hold those of queries."""
        return f"asked-{self.digest[:16]}"


@dataclass(frozen=True)
class Pending:
    """What an index of sketches still takes.

    Attributes:
        fitted: whether a sketcher is there.
        rows: training rows without a sketch; of several that are alike one is counted.
        listed: whether the list of them all is there.
    """

    fitted: bool
    rows: int
    listed: bool = False


def pending(job: "Job", method: Sketches, digest: str) -> Pending:
    """What `write_sketches` would do now; nothing is written."""
    try:
        store = job.store
    except StoreError:
        return Pending(False, len(job.train_texts))
    if sketches_ready(store, digest):
        return Pending(True, 0, True)
    if not store.parts(_kind(digests.sketch_family(job, method))):
        return Pending(False, len(job.train_texts))  # no need to look at every row
    rows = row_digests(job.plan.inputs.train, job.study.labels)
    found = _carried(job) or _reusable(store, digests.sketch_family(job, method), rows, method)
    if found is None:
        return Pending(False, len(set(rows)))
    return Pending(True, len(missing_rows(store, found.blocks, rows)))


def write_sketches(job: "Job", method: Sketches, digest: str) -> None:
    """Sketch the training rows that have none yet, and list where all of them lie."""
    rows = row_digests(job.plan.inputs.train, job.study.labels)
    fitted = _fitted(job, method, rows)
    sketcher = read_sketcher(job.store, fitted.digest, job.objective)
    _write_missing(job, sketcher, fitted, rows)
    places, blocks = _places(job.store, fitted, rows)

    def write(folder: Path) -> None:
        (folder / LIST).write_text(json.dumps({"sketcher": fitted.digest, "blocks": blocks}))
        places.write_parquet(folder / ROWS_FILE)
        if method.factory != "Flat":
            stored = _stored(job.store, fitted, blocks, places)
            approximate_index(stored, method.factory).save(folder / INDEX)

    job.store.write_part("index", digest, write)


def read_sketches(
    store: Store, digest: str, factory: str, objective: fastif.Objective
) -> tuple[fastif.Index, fastif.Sketcher]:
    """What `write_sketches` listed: mapped into memory, or the approximate index of it."""
    part = store.part("index", digest)
    assert part is not None, "the index is prepared before any shard"
    listed = json.loads((part / LIST).read_text())
    sketcher = read_sketcher(store, listed["sketcher"], objective)
    if factory != "Flat":
        return fastif.CandidateIndex.load(part / INDEX), sketcher
    places = pl.read_parquet(part / ROWS_FILE)
    return _stored(store, Fitted(listed["sketcher"]), listed["blocks"], places), sketcher


def sketcher_of(store: Store, digest: str) -> str:
    """Digest of the sketcher behind an index of sketches."""
    part = store.part("index", digest)
    assert part is not None, "the index is prepared before any shard"
    return str(json.loads((part / LIST).read_text())["sketcher"])


def asked_sketches(
    job: "Job", search: fastif.Sketched, ids: torch.Tensor, keep: bool
) -> torch.Tensor:
    """Sketches of these queries, [q d]: those that an earlier night kept, and the others made now.

    Args:
        job: the study.
        search: has the sketcher.
        ids: positions of the queries.
        keep: whether those that are made are kept for the next night.
    """
    fitted = Fitted(sketcher_of(job.store, job.index_digests[0]))
    every = row_digests(job.plan.inputs.queries, job.study.labels)
    rows = [every[i] for i in ids.tolist()]
    missing = missing_rows(job.store, fitted.asked, rows)
    gradients, size = fastif.Gradients(job.objective), job.study.run.batch_size
    made = ids[torch.tensor(missing["id"].to_list(), dtype=torch.long)]
    fresh = fastif.query_sketches(search.sketcher, gradients, job.queries, made, size)
    if keep and len(made):
        keep_block(job.store, fitted.asked, fresh.cpu(), missing, SKETCHES)
    found = dict(zip(missing["row"].to_list(), fresh, strict=True))
    for folder in job.store.parts(fitted.asked).values():
        block = pl.read_parquet(folder / ROWS_FILE)["row"].to_list()
        if not found.keys() >= set(rows) and not set(rows).isdisjoint(block):
            held = mapped(folder / SKETCHES).to(fresh.device)
            found |= {row: held[i] for i, row in enumerate(block) if row not in found}
    return torch.stack([found[row] for row in rows]) if rows else fresh


def sketches_ready(store: Store, digest: str) -> bool:
    """Whether the list is there, and every block and the sketcher that it names."""
    part = store.part("index", digest)
    if part is None:
        return False
    listed = json.loads((part / LIST).read_text())
    blocks = (store.part(Fitted(listed["sketcher"]).blocks, name) for name in listed["blocks"])
    return store.part("sketcher", listed["sketcher"]) is not None and all(blocks)


def read_sketcher(store: Store, digest: str, objective: fastif.Objective) -> fastif.Sketcher:
    """The sketcher of this digest.

    Raises:
        StoreError: it is gone or damaged, and a run that goes on with it cannot fit it again.
    """
    part = store.part("sketcher", digest)
    if part is None:
        raise StoreError.at(
            store.layout.part("sketcher", digest),
            expected="the sketcher that the earlier night was computed with",
            got="none, or a damaged one (see `fastif verify`)",
            remedy="Put its files back from a copy, or take out [carry] to begin anew.",
        )
    return fastif.Sketcher.of_state(load_file(part / SKETCHER), objective)


def approximate_index(stored: StoredSketches, factory: str) -> fastif.CandidateIndex:
    """By FAISS' factory string, taught by some sketches and filled piece by piece."""
    count = stored.count
    some = torch.arange(0, count, -(-count // TRAINED_ON))
    index = fastif.CandidateIndex.trained(stored.take(some), factory, products=True)
    for ids in torch.arange(count).split(ROWS):
        index.add(stored.take(ids))
    return index


def _fitted(job: "Job", method: Sketches, rows: Sequence[bytes]) -> Fitted:
    """A sketcher that was fitted to the same rows, or nearly so, or a new one."""
    family = digests.sketch_family(job, method)
    known = _carried(job) or _reusable(job.store, family, rows, method)
    if known is not None:
        return known
    fitted = Fitted(fingerprint({"family": family, "rows": [row.hex() for row in sorted(rows)]}))
    sketcher = _fit(job, method)
    state = {name: tensor.contiguous() for name, tensor in sketcher.state().items()}
    job.store.write_part("sketcher", fitted.digest, lambda to: save_file(state, to / SKETCHER))
    frame = digest_frame(rows)
    job.store.write_part(
        _kind(family), fitted.digest, lambda to: frame.write_parquet(to / ROWS_FILE)
    )
    return fitted


def _carried(job: "Job") -> Fitted | None:
    """The sketcher of the run that this one goes on from."""
    lineage = job.plan.lineage
    return Fitted(lineage.sketcher) if lineage and lineage.sketcher else None


def _kind(family: str) -> str:
    """Kind of the parts that name the rows of each sketcher of a family."""
    return f"sketchers-{family[:16]}"


def _reusable(store: Store, family: str, rows: Sequence[bytes], method: Sketches) -> Fitted | None:
    """The sketcher that was fitted to most of these rows, if it was to enough of them.

    Scores by sketches alone are those of its curvature, so that it has to be of these very rows.
    """
    enough = REUSE if method.rescore else 1.0
    folders = store.parts(_kind(family))
    shares = {
        name: _share(folder, rows)
        for name, folder in folders.items()
        if store.part("sketcher", name) is not None
    }
    best = max(sorted(shares), key=lambda name: shares[name], default=None)
    return Fitted(best) if best is not None and shares[best] >= enough else None


def _share(folder: Path, rows: Sequence[bytes]) -> float:
    """Distinct rows that two tables have in common, of all that either has."""
    before, now = set(pl.read_parquet(folder / ROWS_FILE)["row"].to_list()), set(rows)
    return len(before & now) / len(before | now)


def _fit(job: "Job", method: Sketches) -> fastif.Sketcher:
    with stage("sketches: directions of curvature", None) as watch:
        return fastif.Sketcher.fit(
            job.gauss_newton(watch(job.train)),
            job.damping,
            dimensions=method.dimensions,
            width=method.width,
            energy=method.energy,
            seed=job.study.curvature.seed,
        )


def _write_missing(
    job: "Job", sketcher: fastif.Sketcher, fitted: Fitted, rows: Sequence[bytes]
) -> None:
    missing = missing_rows(job.store, fitted.blocks, rows)
    if missing.is_empty():
        return
    gradients, size = fastif.Gradients(job.objective), job.study.run.batch_size
    with stage("training rows: sketches", len(missing)) as watch:
        train = watch(job.train)
        for part in missing.iter_slices(ROWS):
            ids = torch.tensor(part["id"].to_list())
            found = fastif.train_sketches(sketcher, gradients, train, ids, size)
            keep_block(job.store, fitted.blocks, found, part, SKETCHES)


def _places(store: Store, fitted: Fitted, rows: Sequence[bytes]) -> tuple[pl.DataFrame, list[str]]:
    """Block and place in it of every training row, and the names of the blocks."""
    blocks = store.parts(fitted.blocks)
    known = [
        pl.read_parquet(folder / ROWS_FILE)
        .with_row_index("place")
        .with_columns(block=pl.lit(number, pl.UInt32))
        for number, folder in enumerate(blocks.values())
    ]
    # Two runs at once may have sketched the same row, each in a block of its own.
    first = pl.concat(known).unique("row", keep="first", maintain_order=True)
    found = digest_frame(rows).join(first, on="row", how="left", maintain_order="left")
    return found.select("block", "place"), list(blocks)


def _stored(
    store: Store, fitted: Fitted, blocks: Sequence[str], places: pl.DataFrame
) -> StoredSketches:
    found = []
    numbered = places.with_row_index("id").partition_by("block", as_dict=True)
    for (number,), part in sorted(numbered.items()):
        folder = store.part(fitted.blocks, blocks[int(str(number))])
        assert folder is not None, "a block that is listed is never removed before its list"
        ids, where = (torch.tensor(part[name].to_list()) for name in ("id", "place"))
        found.append(Block(partial(mapped, folder / SKETCHES), ids, where))
    return StoredSketches(found)
