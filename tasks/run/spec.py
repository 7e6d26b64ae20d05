"""What an audit will compute: checked, named by its content, cut into shards."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from fastif import InputError
from storage import RunRecord, Shard, Store, StoreError, compute_fingerprint
from storage.uri import parse_location
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.models.locate import compute_model_digest, find_base_folder, find_model_folders
from tasks.run.method_choice import MethodSelection
from tasks.run.parent_run import CARRIED, Lineage, find_lineage
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.any_solver import AnySolver
from tasks.study.study import Study, check_has_audit

TRAIN, FINISH = "train", "finish"
"""Commits of a run beside its shards: the training table first, the run's own row last."""


@dataclass(frozen=True)
class RunRef:
    """What travels between tasks: which study, which run. Never a tensor."""

    study: str
    run: str
    fingerprint: str


@dataclass(frozen=True)
class RunPlan:
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
    method: MethodSelection | None = None
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
        return resolve_store_path(self.inputs.study)


def plan_run(path: Path, run: str | None = None) -> RunPlan:
    """Name the run that a study file asks for. Reads every input, writes nothing.

    The name is the study's and the first digits of the fingerprint, so the same inputs and settings
    are the same run, and to resume is to ask again.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the model.
    """
    study = read_study(path)
    check_has_audit(study)
    inputs = read_tables(study)
    fingerprint_inputs = _collect_fingerprint_inputs(inputs)
    lineage = find_lineage(study, find_existing_store(study), fingerprint_inputs, inputs.train)
    if lineage:
        fingerprint_inputs[CARRIED] = dict(lineage.record_entry)
    run_fingerprint = compute_fingerprint(fingerprint_inputs)
    name = run or f"{study.name}-{run_fingerprint[:10]}"
    record = RunRecord(
        run=name,
        study=study.name,
        fingerprint=run_fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parts=fingerprint_inputs,
        query_rows=len(inputs.queries),
        train_rows=len(inputs.train),
        # A run that was begun keeps its own, or its shards would be other queries.
        shard_size=read_begun_shard_size(study, name) or study.run.shard_size,
    )
    return RunPlan(inputs, record, lineage=lineage)


def read_begun_shard_size(study: Study, run: str) -> int | None:
    """The shard size of a run that was begun; None if it was not."""
    try:
        return open_existing_store(study).read_record(run).shard_size
    except StoreError:
        return None  # whatever else is wrong is said when it is opened


def open_store(plan: RunPlan) -> Store:
    """The store, with this run opened in it.

    Raises:
        StoreError: the store is another study's or cannot be written; the run's name is taken.
    """
    store = Store.open(plan.store_path, plan.record.study)
    store.open_run(plan.record)
    return store


def open_existing_store(study: Study) -> Store:
    """The store of a study, for reading.

    Raises:
        StoreError: there is none yet.
    """
    return Store.open(resolve_store_path(study), study.name, create=False)


def find_existing_store(study: Study) -> Store | None:
    """The same; None if there is none yet."""
    try:
        return open_existing_store(study)
    except StoreError:
        return None  # not begun; whatever else is wrong is said when it is opened


def resolve_store_path(study: Study) -> Path:
    """Where a study's store lies: a folder, taken from that of the file, or an address.

    Raises:
        StoreError: an address that is none of S3's, or the packages for it are not installed.
    """
    path = study.store.path
    return parse_location(path if "://" in path else study.resolve(path))


def find_finished_run(plan: RunPlan) -> Store | None:
    """The store, if this run is finished in it and every file is there."""
    try:
        store = open_existing_store(plan.inputs.study)
        is_same = store.read_record(plan.record.run).fingerprint == plan.record.fingerprint
    except StoreError:
        return None  # not begun, or a store that cannot be read: opening it for writing will say
    is_done = (
        is_same
        and store.is_committed(plan.record.run, FINISH)
        and store.is_committed(plan.record.run, TRAIN)
    )
    return store if is_done and not list_missing_shards(store, plan.record.run) else None


def list_planned_shards(plan: RunPlan) -> Sequence[Shard]:
    """The shards that this plan would compute now."""
    try:
        return list_missing_shards(open_existing_store(plan.inputs.study), plan.record.run)
    except StoreError:
        return plan.record.list_shards()


def list_missing_shards(store: Store, run: str) -> Sequence[Shard]:
    """The shards of a run that have no committed answer yet."""
    return store.find_missing(run, store.read_record(run).list_shards())


def _select_answer_fields(solver: AnySolver) -> dict[str, object]:
    """The solver's record without what changes only speed and memory."""
    return {
        item.name: getattr(solver, item.name)
        for item in fields(solver)  # type: ignore[arg-type]
        if item.metadata.get("changes_answers", True)
    }


def _collect_fingerprint_inputs(inputs: Inputs) -> dict[str, object]:
    """Everything the answers depend on. Sizes that change only speed and memory are not in it."""
    study = inputs.study
    model, *others = compute_model_digests(study)
    return {
        "mathematics": INFLUENCE_VERSION,
        "model": model,
        **({"models": others} if others else {}),
        "train": inputs.train.digest,
        "queries": inputs.queries.digest,
        "labels": list(study.labels),
        "max_length": study.model.max_length,
        "attributed": study.parameters.model_dump(mode="json")["attributed"],
        **study.loss_settings,
        "curvature": study.curvature.model_dump(mode="json"),
        **_collect_recipe(study),
        "solver": _select_answer_fields(study.solver),
        "candidates": study.candidates.model_dump(mode="json", exclude_none=True),
        "certificate": {"rows": min(study.certificate.rows, len(inputs.train))},
        **_collect_group_inputs(study),
    }


def _collect_group_inputs(study: Study) -> dict[str, object]:
    """The order of the groups, where a run may keep sums: these are by the first of them."""
    groups = list(study.queries.groups)
    return {"groups": groups} if study.candidates.may_have_totals and len(groups) > 1 else {}


def _collect_recipe(study: Study) -> dict[str, object]:
    """How the model is trained again, where the damping is chosen by that."""
    if study.fixed_damping is not None or study.training is None:
        return {}
    training = study.training.model_dump(mode="json", exclude={"base", "checkpoints"})
    base = compute_model_digest(find_base_folder(study))
    return {"recipe": {**training, "weight_decay": study.weight_decay, "base": base}}


def compute_model_digests(study: Study) -> list[str]:
    """The digest of every model.

    Raises:
        InputError: a model cannot be found, or two of them are one.
    """
    folders = find_model_folders(study)
    digests = [compute_model_digest(folder) for folder in folders]
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise InputError(
                "models",
                "each model once",
                f"the same files in {folders[digests.index(digest)]} and {folders[i]}",
                "Remove one of them; a mean over copies says nothing new.",
            )
    return digests
