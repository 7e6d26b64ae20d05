"""What an audit will compute: checked, named by its content, cut into shards."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fastif import InputError
from storage import RunRecord, Shard, Store, StoreError, fingerprint, location
from tasks.data.dataset import Table, check_against, read_table
from tasks.models.locate import base_folder, model_digest, model_folders
from tasks.run.method_choice import MethodChoice
from tasks.run.parent_run import CARRIED, Lineage, lineage_of
from tasks.study.errors import Problem, StudyError
from tasks.study.sections import Auto, FullScan
from tasks.study.study import (
    AUDIT,
    AnySolver,
    Study,
    load_study,
)

MATHEMATICS = 6
"""Raised when `fastif` comes to compute something else, so that old answers are not mixed in."""

TRAIN, FINISH = "train", "finish"
"""Commits of a run beside its shards: the training table first, the run's own row last."""

LIBRARIES = ("torch", "transformers", "polars", "pyarrow", "prefect", "numpy")


@dataclass(frozen=True)
class RunRef:
    """What travels between tasks: which study, which run. Never a tensor."""

    study: str
    run: str
    fingerprint: str


@dataclass(frozen=True)
class Inputs:
    """The study and its two tables, read and checked."""

    study: Study
    train: Table
    queries: Table


@dataclass(frozen=True)
class Plan:
    """A run that can start or go on: its record and where its answers go.

    Attributes:
        inputs: study and tables.
        record: of the run.
        sizes: what was chosen to fit into memory, in words; empty if nothing was.
        method: how the method of finding candidates was chosen; None if the study names it.
        lineage: the run that this one goes on from; None for one from nothing.
    """

    inputs: Inputs
    record: RunRecord
    sizes: str = ""
    method: MethodChoice | None = None
    lineage: Lineage | None = None

    @property
    def root(self) -> RunRecord:
        """The run whose choices hold: the first of the line, or this one."""
        return self.lineage.root if self.lineage else self.record

    @property
    def ref(self) -> RunRef:
        """The reference that tasks are given."""
        return RunRef(str(self.inputs.study.path), self.record.run, self.record.fingerprint)

    @property
    def store_path(self) -> Path:
        """The folder of the store."""
        return store_path(self.inputs.study)


def read_inputs(path: Path) -> Inputs:
    """Read a study file and its tables.

    Raises:
        StudyError: everything that is wrong with one of them.
    """
    study = load_study(path)
    train = read_table(study.train, study.labels, study.folder, "train")
    queries = train.take([])
    if study.asks:
        queries = read_table(study.queries, study.labels, study.folder, "queries")
    check_against(study, train, queries)
    return Inputs(study, train, queries)


def check_audited(study: Study) -> None:
    """Refuse a study of labels alone where an audit or a model is asked for.

    Raises:
        StudyError: it has none of the sections that say what an audit needs.
    """
    if not study.audited:
        expected = f"the sections [queries], {', '.join(f'[{name}]' for name in AUDIT)}"
        got = "a study that can only be searched for wrong labels (`fastif mislabels`)"
        change = "add them, see `fastif init`"
        raise StudyError(study.path, [Problem("file", expected, got, change)])


def plan_run(path: Path, run: str | None = None) -> Plan:
    """Name the run that a study file asks for. Reads every input, writes nothing.

    The name is the study's and the first digits of the fingerprint, so the same inputs and settings
    are the same run, and to resume is to ask again.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the model.
    """
    check_audited(load_study(path))
    inputs = read_inputs(path)
    study, parts = inputs.study, _parts(inputs)
    lineage = lineage_of(study, _store_if_any(study), parts, inputs.train)
    if lineage:
        parts[CARRIED] = dict(lineage.part)
    mark = fingerprint(parts)
    name = run or f"{study.name}-{mark[:10]}"
    record = RunRecord(
        run=name,
        study=study.name,
        fingerprint=mark,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parts=parts,
        query_rows=len(inputs.queries),
        train_rows=len(inputs.train),
        # A run that was begun keeps its own, or its shards would be other queries.
        shard_size=begun_shard_size(study, name) or study.run.shard_size,
    )
    return Plan(inputs, record, lineage=lineage)


def begun_shard_size(study: Study, run: str) -> int | None:
    """The shard size of a run that was begun; None if it was not."""
    try:
        return existing_store(study).record(run).shard_size
    except StoreError:
        return None  # whatever else is wrong is said when it is opened


def open_store(plan: Plan) -> Store:
    """The store, with this run opened in it.

    Raises:
        StoreError: the store is another study's or cannot be written; the run's name is taken.
    """
    store = Store.open(plan.store_path, plan.record.study)
    store.open_run(plan.record)
    return store


def existing_store(study: Study) -> Store:
    """The store of a study, for reading.

    Raises:
        StoreError: there is none yet.
    """
    return Store.open(store_path(study), study.name, create=False)


def _store_if_any(study: Study) -> Store | None:
    try:
        return existing_store(study)
    except StoreError:
        return None  # not begun; whatever else is wrong is said when it is opened


def store_path(study: Study) -> Path:
    """Where a study's store lies: a folder, taken from that of the file, or an address.

    Raises:
        StoreError: an address that is none of S3's, or the packages for it are not installed.
    """
    where = study.store.path
    return location(where if "://" in where else study.resolve(where))


def existing_run(plan: Plan) -> Store | None:
    """The store, if this run is finished in it and every file is there."""
    try:
        store = existing_store(plan.inputs.study)
        same = store.record(plan.record.run).fingerprint == plan.record.fingerprint
    except StoreError:
        return None  # not begun, or a store that cannot be read: opening it for writing will say
    done = same and store.is_done(plan.record.run, FINISH) and store.is_done(plan.record.run, TRAIN)
    return store if done and not missing_shards(store, plan.record.run) else None


def planned_shards(plan: Plan) -> Sequence[Shard]:
    """The shards that this plan would compute now."""
    try:
        return missing_shards(existing_store(plan.inputs.study), plan.record.run)
    except StoreError:
        return plan.record.shards()


def missing_shards(store: Store, run: str) -> Sequence[Shard]:
    """The shards of a run that have no committed answer yet."""
    return store.missing(run, store.record(run).shards())


def _answer_fields(solver: AnySolver) -> dict[str, object]:
    """The solver's record without what changes only speed and memory."""
    kept = (item for item in fields(solver) if item.metadata.get("changes_answers", True))
    return {item.name: getattr(solver, item.name) for item in kept}


def _parts(inputs: Inputs) -> dict[str, object]:
    """Everything the answers depend on. Sizes that change only speed and memory are not in it."""
    study = inputs.study
    model, *others = _model_digests(study)
    return {
        "mathematics": MATHEMATICS,
        "model": model,
        **({"models": others} if others else {}),
        "train": inputs.train.digest,
        "queries": inputs.queries.digest,
        "labels": list(study.labels),
        "max_length": study.model.max_length,
        "attributed": study.parameters.model_dump(mode="json")["attributed"],
        **study.loss_parts,
        "curvature": study.curvature.model_dump(mode="json"),
        **_recipe(study),
        "solver": _answer_fields(study.solver),
        "candidates": study.candidates.model_dump(mode="json", exclude_none=True),
        "certificate": {"rows": min(study.certificate.rows, len(inputs.train))},
        **_grouped(study),
    }


def _grouped(study: Study) -> dict[str, object]:
    """The order of the groups, where a run may keep sums: these are by the first of them."""
    candidates, groups = study.candidates, list(study.queries.groups)
    if isinstance(candidates, FullScan):
        summed = candidates.totals
    else:  # a method that may fall back to a full scan
        summed = isinstance(candidates, Auto) or any(m.k is None for m in candidates.methods)
    return {"groups": groups} if summed and len(groups) > 1 else {}


def _recipe(study: Study) -> dict[str, object]:
    """How the model is trained again, where the damping is chosen by that."""
    if study.fixed_damping is not None or study.training is None:
        return {}
    training = study.training.model_dump(mode="json", exclude={"base", "checkpoints"})
    base = model_digest(base_folder(study))
    return {"recipe": {**training, "weight_decay": study.weight_decay, "base": base}}


def _model_digests(study: Study) -> list[str]:
    """The digest of every model.

    Raises:
        InputError: a model cannot be found, or two of them are one.
    """
    folders = model_folders(study)
    digests = [model_digest(folder) for folder in folders]
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise InputError(
                "models",
                "each model once",
                f"the same files in {folders[digests.index(digest)]} and {folders[i]}",
                "Remove one of them; a mean over copies says nothing new.",
            )
    return digests


def versions() -> dict[str, str]:
    """The libraries an answer was computed with."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
