"""Error correction of a study's model, and its evaluation on held-out failures and all queries."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor
from transformers import PreTrainedModel

import fastif
from fastif import InputError
from fastif.correction import CorrectedModel, Correction, correct
from fastif.models.save_classifier import save_classifier
from storage.atomic_folder import replace_folder
from tasks.correction.slice_changes import SliceChange, compute_slice_changes, decide_improvement
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table, read_table
from tasks.data.held_out import count_distinct_rows, split_held_out
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import compute_model_digest, find_model_folder
from tasks.planning.open_run import validate_run
from tasks.run.artifact_keys import factor_digest
from tasks.run.artifacts import read_factor
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator
from tasks.run.hidden_states import get_train_examples
from tasks.run.spec import plan_run
from tasks.runtime.progress import progress_bar, progress_part
from tasks.runtime.versions import read_versions
from tasks.runtime.writable_path import check_outside
from tasks.study.command_lines import format_command
from tasks.study.errors import Problem, StudyError
from tasks.study.sections import QuerySource, TableSource
from tasks.study.study import Study
from tasks.study.supported_targets import check_plain_classes

RECORD = "fastif-correction.json"
HELD_OUT_SHARE = 0.5
"""Fraction of the failures that are held out to evaluate the correction."""
MIN_ANCHORS = 20
"""Minimum number of failures; with fewer, the held-out half is too small."""


@dataclass(frozen=True)
class CorrectionRequest:
    """Input of an error correction.

    Attributes:
        study: Study file.
        anchors: Table of failures, with the columns of [queries].
        out: New folder for the corrected model.
        source: Table of rows to learn from, with the columns of [train]; the training rows if None.
        settings: Number of steps and rows, selection, and seed.
        keep: Whether to write the model even without an improvement.
    """

    study: Path
    anchors: Path
    out: Path
    source: Path | None
    settings: Correction
    keep: bool


@dataclass(frozen=True)
class CorrectionResult:
    """Outcome of an error correction.

    Attributes:
        improved: Whether it is an improvement; without one, the model is written only with `keep`.
        why: Conclusion in one sentence.
        slices: Changes on the held-out failures, on all queries, and on queries by group.
        taken: Ids of the rows of each step.
        out: Folder of the model; None if it was not written.
    """

    improved: bool
    why: str
    slices: Sequence[SliceChange]
    taken: Sequence[Sequence[str]]
    out: str | None


def check_labelled_queries(study: Study, queries: Table) -> None:
    """Refuse a study whose queries have no loss, by which a correction is accepted.

    Raises:
        InputError: A query has no label, or the measure is not the loss.
    """
    if not queries.is_labelled or study.queries.measure not in ("auto", "loss"):
        raise InputError(
            f"[queries] of {study.path}",
            "labels in all rows and the loss as measure, by which a correction is accepted",
            "rows without a label" if not queries.is_labelled else f'"{study.queries.measure}"',
            "Correct with a study whose queries have labels, without the key measure.",
        )


@task(name="correct-model", cache_policy=NO_CACHE)
def correct_model(request: CorrectionRequest) -> CorrectionResult:
    """Correct a study's model on a failure set, evaluate it, and write it if it is an improvement.

    Args:
        request: Input of the correction.

    Raises:
        StudyError, InputError: The study, a table or the folder is invalid, or no damping is
            selected.
    """
    context, anchors, source = _open_tables(request)
    used, held_out = split_held_out(anchors, HELD_OUT_SHARE, request.settings.seed)
    texts = _encode_table(context, anchors)
    table, ids = get_train_examples(context), context.plan.inputs.train.ids
    if source is not None:
        table, ids = (
            cache_hidden_states(context.objective, _encode_table(context, source), context.study),
            source.ids,
        )
    solver, operator, store = context.solver, make_operator(context), context.existing_store
    factor = read_factor(store, factor_digest(context)) if store else None
    if not factor:
        with progress_part("curvature: factorization: rows read"):
            factor = solver.factor(operator)

    def solve_queries(b: Tensor) -> Tensor:
        return solver.solve(operator, b, factor).value

    with progress_bar("correction", request.settings.steps, "steps") as advance:
        corrected = correct(
            context.objective,
            table,
            texts.subset(used),
            solve_queries,
            request.settings,
            lambda _: advance(1),
        )
    slices = compute_slice_changes(context, anchors, texts, held_out, corrected.params)
    improved, reason = decide_improvement(slices)
    written = improved or request.keep
    # With `by="anchors"`, positions are those among the failures that were not held out.
    names = [anchors.ids[i] for i in used.tolist()] if request.settings.by == "anchors" else ids
    rows_used = [[names[i] for i in rows.tolist()] for rows in corrected.rows_used]
    result = CorrectionResult(
        improved, reason, slices, rows_used, str(request.out) if written else None
    )
    if written:
        _write_model(context, request, corrected, result)
    return result


def _open_tables(request: CorrectionRequest) -> tuple[RunContext, Table, Table | None]:
    """Open the run and the tables, and check all input before any computation."""
    if request.out.exists():
        remedy = "Choose another name."
        raise InputError(f"--out {request.out}", "a new folder", "one that exists", remedy)
    plan = plan_run(request.study)
    check_outside(plan.store_path, request.out)
    study = plan.inputs.study
    check_plain_classes(study, "`fastif correct`")
    check_labelled_queries(study, plan.inputs.queries)
    anchors = _read_option_table(study, study.queries, request.anchors, "--anchors")
    if (count := count_distinct_rows(anchors)) < MIN_ANCHORS:
        got = f"{count}" if count == len(anchors) else f"{count} distinct among {len(anchors)} rows"
        remedy = "Add failures: half of them are held out to evaluate the correction."
        raise InputError("--anchors", f"{MIN_ANCHORS} or more distinct examples", got, remedy)
    source = None
    if request.source is not None:
        source = _read_option_table(study, study.train, request.source, "--from")
    context = validate_run(plan)
    if study.models:
        raise InputError("models", "one model", "several", "Correct one model at a time.")
    context = replace(context, others=(), estimator_choice=None, row_norms=None)
    if context.known_damping is None:
        command = format_command("audit", study=request.study)
        remedy = f"Run `{command}` first, or set a number."
        expected = "a selected damping"
        raise InputError("[curvature] damping", expected, "none selected yet", remedy)
    return context, anchors, source


def _read_option_table(study: Study, source: TableSource, table: Path, option: str) -> Table:
    """Read the table of an option with the columns of a section; problems name the option.

    Raises:
        StudyError: The table cannot be read.
    """
    role = "queries" if source is study.queries else "train"
    try:
        rows = read_table(_replace_table(source, table), study.labels, Path(), role)
    except StudyError as error:
        problems = [
            _replace_location(problem, f"[{role}] table", option) for problem in error.problems
        ]
        raise StudyError(error.file, problems) from None
    announce_notes(rows.notes)
    return rows


def _replace_location(problem: Problem, key: str, option: str) -> Problem:
    """Name the option as the place of a problem; its path is relative to the working directory."""
    if problem.where != key:
        return problem
    remedy = problem.remedy.replace("; it is relative to the study file", "")
    return replace(problem, where=option, remedy=remedy)


def _replace_table(source, table: Path):
    """Return the table source with another table and the same columns.

    Keys on the form of the file are kept for a file of the same kind.
    """
    changes = {"table": str(table.resolve()), "dataset": None, "split": None, "config": None}
    changes |= {"groups": ()} if isinstance(source, QuerySource) else {}
    if table.suffix.lower() != Path(source.table or "").suffix.lower():
        changes |= dict.fromkeys(("separator", "decimal", "encoding", "sheet"))
    return source.model_copy(update=changes)


def _encode_table(context: RunContext, table: Table) -> fastif.TextExamples:
    tokenizer = fastif.load_tokenizer(find_model_folder(context.study), _get_classifier(context))
    return fastif.encode(
        tokenizer,
        table.texts,
        table.text_pairs,
        table.labels,
        context.study.model.max_length,
        context.objective.like.device,
        context.study.run.batch_tokens,
    )


def _get_classifier(context: RunContext) -> PreTrainedModel:
    """Return the study's text classifier.

    Raises:
        InputError: The model is of another kind, which cannot be written to a folder.
    """
    model = context.objective.full_model
    if isinstance(model, PreTrainedModel) and context.study.model_kind == "text":
        return model
    raise InputError(
        "fastif correct",
        "a text classifier, which is saved as a folder",
        f"{type(model).__name__}",
        "Correct the model from Python, see docs/guides/library.md.",
    )


def _write_model(
    context: RunContext,
    request: CorrectionRequest,
    corrected: CorrectedModel,
    result: CorrectionResult,
) -> None:
    """Write the model and the record of its correction, whole or not at all."""
    model, folder = _get_classifier(context), find_model_folder(context.study)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    record = {
        "from": compute_model_digest(folder),
        "how": asdict(request.settings),
        "anchors": request.anchors.name,
        "source": request.source.name if request.source else "training rows",
        **asdict(result),
        "versions": read_versions(),
    }
    try:
        model.load_state_dict(dict(corrected.params), strict=False)
        with replace_folder(request.out) as temp_path:
            save_classifier(model, temp_path)
            fastif.load_tokenizer(folder, model).save_pretrained(temp_path)
            record["model_digest"] = compute_model_digest(temp_path)
            (temp_path / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    finally:
        model.load_state_dict(before)


def make_slices_frame(result: CorrectionResult) -> pl.DataFrame:
    """Return the changes as a table, one row a slice."""
    return pl.DataFrame([asdict(change) for change in result.slices])
