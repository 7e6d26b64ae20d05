"""Opening of an engine: the study's model, the sketches of its latest run, and their checks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastif import InputError
from fastif.candidates.head_index import HeadIndex
from fastif.candidates.sketch_index import SketchIndex
from fastif.losses.query_measure import QUERY_MEASURES
from fastif.numerics.out_of_memory import release_to_os
from storage import RunRecord, Store
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.load import load_study_model
from tasks.models.locate import find_model_folders
from tasks.planning.open_run import load_run
from tasks.run.artifact_keys import index_digests
from tasks.run.context import RunContext
from tasks.run.existing_store import find_existing_store
from tasks.run.sketches import has_sketches, read_sketches
from tasks.run.spec import RunPlan, plan_run
from tasks.runtime.devices import resolve_devices
from tasks.service.check_effects import check_effects
from tasks.service.engine import Engine, Wish
from tasks.service.memory_forecast import check_memory, forecast_memory
from tasks.service.query_rows import QueryRows
from tasks.service.trust import SearchCheck, read_trust
from tasks.study.study import Study
from tasks.study.supported_targets import check_plain_classes

TRIED_ROWS = 64
"""Number of rows of each table on which the model is tried at the start."""
WARM_ROWS = 8
"""Number of rows that are explained by every measure before the first query."""
CHECKED_AT = 10
"""Number of rows at each end for which the recall of the search is measured."""
SAME = ("mathematics", "model", "models", "train", "labels", "max_length", "attributed")
"""Keys of a run's record that its sketches depend on."""


def open_engine(path: Path, announce: Callable[[str], None] = lambda _: None) -> Engine:
    """Open the engine of a study, with the sketches of its latest run.

    Args:
        path: Study file.
        announce: Function that receives the forecast of the memory before it is used.

    Raises:
        StudyError, InputError: The study, a table or the model is invalid; the study has images;
            there are no sketches of this model and this training table; or the memory is too small.
    """
    plan = plan_run(path)
    study = plan.inputs.study
    check_plain_classes(study, "`fastif serve`")
    _check_content(study, path)
    store = find_existing_store(study)
    record = None if store is None else find_run(store, plan)
    if store is None or record is None or not plan.is_settled:
        raise _make_no_run_error(path, store)
    few = replace(plan, inputs=_take_few(plan.inputs))
    context = load_run(few)
    return _open_run(plan, context, store, record, announce)


def find_run(store: Store, plan: RunPlan) -> RunRecord | None:
    """Return the latest finished run of the plan's model and training table; None without one."""
    wanted = {name: plan.record.parts.get(name) for name in SAME}
    for status in store.list_runs():
        parts = status.record.parts
        if status.finished and {name: parts.get(name) for name in SAME} == wanted:
            return status.record
    return None


def _open_run(
    plan: RunPlan,
    context: RunContext,
    store: Store,
    record: RunRecord,
    announce: Callable[[str], None],
) -> Engine:
    study, searcher = context.study, context.searcher
    digest = _find_sketch_digest(searcher, store, study.path)
    index, sketcher = read_sketches(store, digest, "Flat", searcher.objective)
    assert isinstance(index, SketchIndex), "an index without a factory is exact"
    forecast = forecast_memory(sketcher, index, plan.inputs.train, searcher.objective)
    check_memory(forecast)
    announce(f"Memory: {forecast}.")
    place = context.members.index(searcher)
    folder = find_model_folders(study)[place]
    device = resolve_devices(study.run.devices)[0].torch
    model = load_study_model(plan.inputs, folder, searcher.model_digest, device)
    model.encode_tables(context.plan.inputs)  # tries the model's optimisations on these rows
    heads = HeadIndex.build(index)
    trust = read_trust(store, record.run, sketcher.dimensions)
    engine = Engine(study, model, sketcher, heads, plan.inputs.train, trust, forecast)
    _try_measures(engine, context.plan.inputs.train)
    at = min(CHECKED_AT, heads.count)
    queries = min(TRIED_ROWS, heads.count)
    search = SearchCheck(heads.measure_recall(at, queries), at, queries)
    checked = replace(
        trust,
        search=search,
        effects=check_effects(engine, store, record.run, plan.inputs.queries),
        notes=_list_notes(context, place),
    )
    release_to_os()  # sums over all sketches leave freed memory behind
    return replace(engine, trust=checked)


def _find_sketch_digest(context: RunContext, store: Store, path: Path) -> str:
    """Return the cache key of the index of the sketches.

    Raises:
        InputError: The study has none, or the store.
    """
    pairs = zip(context.study.candidates.methods, index_digests(context), strict=True)
    digests = [digest for method, digest in pairs if method.kind == "sketch"]
    if not digests:
        raise InputError(
            f"{path}: [candidates] kind",
            '"sketch", or a union with sketches',
            f'"{context.study.candidates.kind}"',
            f'Set kind = "sketch" and run `fastif audit {path}`: a lookup uses its sketches.',
        )
    if not has_sketches(store, digests[0]):
        raise _make_no_run_error(path, store)
    return digests[0]


def _make_no_run_error(path: Path, store: Store | None) -> InputError:
    got = "no store" if store is None else "no such run"
    return InputError(
        f"{path}: store",
        "a finished run with sketches of this model and this training table",
        got,
        f"Run `fastif audit {path}` first.",
    )


def _check_content(study: Study, path: Path) -> None:
    """Refuse images: a row of a request could name any file of this machine.

    Raises:
        InputError: The study has images.
    """
    if study.train.image:
        raise InputError(
            f"{path}: [train] image",
            "texts or features",
            "images",
            "Use `fastif audit` and `fastif top` for a study of images.",
        )


def _take_few(inputs: Inputs) -> Inputs:
    """Return the study with the longest rows of its tables, on which the model is tried."""
    tables = [inputs.train, inputs.queries if len(inputs.queries) else inputs.train]
    train, queries = (table.take(_find_longest(table)) for table in tables)
    return Inputs(inputs.study, train, queries)


def _find_longest(table: Table) -> list[int]:
    order = sorted(range(len(table)), key=lambda row: len(table.texts[row]), reverse=True)
    return order[:TRIED_ROWS]


def _try_measures(engine: Engine, table: Table) -> None:
    """Explain a few rows by every measure; the first tries the model with it."""
    rows = table.take(range(min(WARM_ROWS, len(table))))
    for name in QUERY_MEASURES:
        engine.explain(QueryRows(rows, rows.labels), Wish(1, 0, name))
    engine.explain(QueryRows(rows.take([0]), [None]), Wish(1, 0))


def _list_notes(context: RunContext, place: int) -> tuple[str, ...]:
    """List what is other than in the night's run."""
    notes = []
    if len(context.members) > 1:
        notes.append(
            f"effects are of model {place + 1} of {len(context.members)}; those of the run are "
            "means over models"
        )
    if context.row_scale is not None or context.ranks_by_cosine:
        notes.append("rows are ordered by their effect; the run orders them by a ranking score")
    return tuple(notes)
