"""Inference of a study of other targets than one class a row, whose kind the user states."""

import importlib.util

from fastif import InputError
from tasks.onboarding.choose_columns import ContentColumns, check_wishes, pick_wished
from tasks.onboarding.feature_columns import find_features
from tasks.onboarding.id_column import find_id
from tasks.onboarding.label_order import LabelOrder
from tasks.onboarding.model_folder import ModelFolder, open_model
from tasks.onboarding.profiled_table import ProfiledTable, open_table
from tasks.onboarding.propose import ENCODER_PACKAGE, Proposal, Request
from tasks.onboarding.questions import Reason
from tasks.onboarding.roles import TableRoles, explain_missing_text
from tasks.onboarding.target_columns import TargetColumns, find_tagged, find_target_columns
from tasks.onboarding.text_columns import is_clear, rank_texts
from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.target_kind import MULTI_LABEL, NUMBER, ORDINAL, SOFT_LABEL

STATED_KINDS = (MULTI_LABEL, NUMBER, ORDINAL, SOFT_LABEL)
"""Kinds of targets that `fastif init --target` writes a study of."""


def propose_target_study(request: Request, kind: str) -> Proposal:
    """Infer a study whose kind of target is stated: columns by option or by clear contents.

    Nothing is computed by the model, so that the order of the labels is that of the model's names,
    of `--labels-order`, or has to be checked.

    Args:
        request: Model, tables and wishes of the user.
        kind: Kind of the target.

    Raises:
        InputError: The kind is unknown, or the model cannot be audited.
        StudyError: A table cannot be read, or no column is clearly the target.
    """
    if kind not in STATED_KINDS:
        expected, remedy = f"one of {join_some(STATED_KINDS)}", "Leave it out for one class a row."
        raise InputError("--target", expected, format_value(kind), remedy)
    if request.own is not None:
        remedy = "Write the study by hand: fastif init --template."
        raise InputError("--target", "no --factory", request.own.function, remedy)
    model = None if request.model is None else open_model(request.model, has_classes=False)
    paths = [(request.train, "train"), (request.queries, "queries")]
    tables = [open_table(path, role) for path, role in paths if path is not None]
    check_wishes(tables, request.wishes)
    if pair := find_tagged(tables[0]):
        change = f'use `fastif spans find {request.train}`, or set target = "tags" in a study'
        got = f"tokens and tags in the columns {pair[0]} and {pair[1]}"
        raise StudyError(tables[0].path, [Problem("--target", "labels of rows", got, change)])
    order = request.order or _get_output_names(model, kind)
    targets = find_target_columns(tables[0], kind, request.wishes.label, order)
    train = _assign(tables[0], request, targets)
    queries = None
    if len(tables) > 1:
        queries = _assign(tables[1], request, _find_in_queries(tables[1], targets))
    is_known = bool(request.order) or {*targets.labels} == {*_get_output_names(model, kind)}
    basis = "the order of the model's outputs" if is_known else targets.reason
    labels = LabelOrder(targets.labels, basis, doubt=targets.doubt)
    has_encoder = importlib.util.find_spec(ENCODER_PACKAGE) is not None
    return Proposal(model, train, queries, labels, None, has_encoder)


def _get_output_names(model: ModelFolder | None, kind: str) -> tuple[str, ...]:
    """Return the names of the outputs, if they may be those of the labels."""
    if model is None or kind not in (MULTI_LABEL, SOFT_LABEL):
        return ()
    is_generic = all(name.startswith("LABEL_") for name in model.names)
    return () if is_generic else model.names


def _find_in_queries(table: ProfiledTable, targets: TargetColumns) -> TargetColumns | None:
    """Return the targets of the queries; None if they have none of the columns.

    Raises:
        StudyError: They have some of the columns.
    """
    missing = [name for name in targets.columns if name not in table.columns]
    if not missing:
        return targets
    if len(missing) < len(targets.columns):
        change = "add the columns, or remove the others"
        raise StudyError(
            table.path,
            [
                Problem(
                    "[queries] labels", join_some(targets.columns), join_some(table.columns), change
                )
            ],
        )
    return None


def _assign(table: ProfiledTable, request: Request, targets: TargetColumns | None) -> TableRoles:
    """Assign text or features and id to the columns that are no target."""
    wishes, used = request.wishes, {*(targets.columns if targets else ())}
    profiles = {name: p for name, p in table.profiles.items() if name not in used}
    text, reasons = pick_wished(table, wishes.text), {}
    if not text:
        readings = [r for r in rank_texts(profiles) if not {*r.columns} & used]
        text = readings[0].columns if readings else ()
        if readings and not is_clear(readings):
            others = tuple(reading.columns[0] for reading in readings[1:3])
            reasons["text"] = Reason("", others)
    name = next(iter(pick_wished(table, wishes.id)), None) or find_id(profiles, {*text})
    taken = {*text, *used, *((name,) if name else ())}
    groups = pick_wished(table, wishes.groups or ())
    features = () if text else find_features(profiles, {*taken, *groups})
    if not text and not features:
        raise StudyError(table.path, [explain_missing_text(table)])
    if features:
        doubt = "columns that are known only after the target, or hold it, must be removed"
        reasons["features"] = Reason(doubt=doubt)
    content = ContentColumns(text, "", reasons)
    return TableRoles(table, content, features, None, name, groups, targets=targets)
