"""Roles of the columns of a table: text or features, label, id, groups."""

from dataclasses import dataclass, replace

from tasks.onboarding.choose_columns import (
    ContentColumns,
    Outputs,
    choose_columns,
    pick_wished,
)
from tasks.onboarding.feature_columns import explain_left_out, find_features, find_image
from tasks.onboarding.group_columns import find_groups, list_second_labels
from tasks.onboarding.id_column import find_id
from tasks.onboarding.profiled_table import ProfiledTable
from tasks.onboarding.questions import Answers, Reason
from tasks.onboarding.target_columns import TargetColumns
from tasks.onboarding.wishes import Wishes
from tasks.study.errors import Problem, StudyError, join_some


@dataclass(frozen=True, eq=False)
class TableRoles:
    """Roles of the columns of one table.

    Attributes:
        table: Table with all its columns.
        content: Text and label columns.
        features: Feature columns of a table without text.
        image: Image column of a table without text; None for others.
        id: Column with unique ids; None for row numbers.
        groups: Group columns.
        second_labels: Other columns with labels, which have no role.
        targets: Target columns of a study whose kind of target is stated; None for classes.
    """

    table: ProfiledTable
    content: ContentColumns
    features: tuple[str, ...] = ()
    image: str | None = None
    id: str | None = None
    groups: tuple[str, ...] = ()
    second_labels: tuple[str, ...] = ()
    targets: TargetColumns | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Number of rows of each label value; empty for a table without labels."""
        if not self.content.label:
            return {}
        return self.table.profiles[self.content.label].values

    def doubt_label(self, doubt: str) -> "TableRoles":
        """Return the roles with another doubt of the label; none if it is empty."""
        reasons = {**self.content.reasons}
        reasons["label"] = replace(reasons.get("label", Reason()), doubt=doubt)
        return replace(self, content=replace(self.content, reasons=reasons))


def assign_roles(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, answers: Answers
) -> TableRoles:
    """Assign a role to each column of a table that has one.

    Args:
        table: Table with all its columns.
        wishes: Columns that the user names.
        outputs: Labels that the label column should have.
        answers: Source of answers to questions that names and contents leave open.

    Raises:
        StudyError: No column is plausible for a role that every table has.
    """
    content = choose_columns(table, wishes, outputs, answers)
    return _complete_roles(table, content, wishes)


def assign_image_roles(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, answers: Answers
) -> TableRoles:
    """Assign a role to each column of a table with images, regardless of its texts.

    Raises:
        StudyError: No column holds images, or none is plausible as the label.
    """
    content = choose_columns(_drop_long_texts(table), wishes, outputs, answers)
    if find_image(table.profiles, {content.label}) is None:
        raise StudyError(table.path, [_explain_missing_image(table)])
    return _complete_roles(table, replace(content, text=()), wishes)


def _explain_missing_image(table: ProfiledTable) -> Problem:
    """Return the problem that no column, or more than one, of a table holds images."""
    kinds = [f"{profile.name} ({profile.kind})" for profile in table.profiles.values()]
    return Problem(
        f"[{table.role}] image",
        "a column with images or paths of image files, or a folder of images by class",
        f"none that is clear among the columns {join_some(kinds, 20)}",
        "leave other columns of bytes out of the table, or write the study by hand: "
        "fastif init --template",
    )


def _complete_roles(table: ProfiledTable, content: ContentColumns, wishes: Wishes) -> TableRoles:
    """Add id, groups, and features or an image to text and label."""
    profiles, label = table.profiles, content.label
    used = {*content.text, label}
    image = None if content.text else find_image(profiles, used)
    used |= {image} if image else set()
    id_column = next(iter(pick_wished(table, wishes.id)), None) or find_id(profiles, used)
    used |= {id_column} if id_column else set()
    second_labels = list_second_labels(table.frame, profiles, label)
    if content.text:
        groups = find_groups(table.frame, profiles, label, used)
        if wishes.groups is not None:
            groups = pick_wished(table, wishes.groups)
        return TableRoles(
            table, content, id=id_column, groups=groups, second_labels=(*second_labels,)
        )
    groups = pick_wished(table, wishes.groups or ())
    used |= {*groups, *second_labels}
    features = () if image else find_features(profiles, used)
    if not image and not features:
        raise StudyError(table.path, [explain_missing_text(table)])
    if features:
        left_out = explain_left_out(table.frame, profiles, {*features, *used})
        content = replace(content, reasons=content.reasons | {"features": left_out})
    return TableRoles(table, content, features, image, id_column, groups, (*second_labels,))


def assign_query_roles(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, answers: Answers, train: TableRoles
) -> TableRoles:
    """Assign the columns of the queries: those of the training table if they are there.

    Queries without labels have the text, features or image of the training table and no label.
    """
    if _has_no_labels(table, wishes, outputs, train):
        return _assign_without_label(table, wishes, train)
    known = Wishes(
        text=pick_wished(table, wishes.text) or train.content.text,
        label=(*wishes.label, train.content.label),
        id=(*wishes.id, *((train.id,) if train.id else ())),
        groups=wishes.groups,
    )
    has_texts = all(name in table.columns for name in train.content.text)
    if not has_texts and not pick_wished(table, wishes.text):
        known = replace(known, text=())
    profile = table.profiles.get(train.content.label)
    if not pick_wished(table, wishes.label) and not (
        profile is not None and {*profile.values} & {*outputs.names}
    ):
        known = replace(known, label=())
    if train.id in table.profiles and not table.profiles[str(train.id)].is_unique:
        known = replace(known, id=wishes.id)
    if train.content.text:
        roles = assign_roles(table, known, outputs, answers)
        if len(roles.content.text) != len(train.content.text):
            raise StudyError(table.path, [explain_missing_text(table)])
        return roles
    content = choose_columns(_drop_long_texts(table), known, outputs, answers)
    content = replace(content, text=())
    roles = _complete_roles(table, content, known)
    features = tuple(name for name in train.features if name in table.columns)
    return replace(roles, content=content, features=features, image=train.image)


def _has_no_labels(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, train: TableRoles
) -> bool:
    """Whether no column of the queries is the label, and the columns of a row are all there."""
    content = train.content.text or train.features or (train.image,)
    if outputs.count is None:  # without a model, queries are trusted rows and need labels
        return False
    if pick_wished(table, wishes.label) or pick_wished(table, wishes.text):
        return False
    if train.content.label in table.columns or not all(name in table.columns for name in content):
        return False
    values = (set(map(str, profile.values)) for profile in table.profiles.values())
    return not any(each and each <= set(outputs.names) for each in values)


def _assign_without_label(table: ProfiledTable, wishes: Wishes, train: TableRoles) -> TableRoles:
    """Assign the columns of queries without labels by those of the training table."""
    used = {*train.content.text, *train.features, *((train.image,) if train.image else ())}
    wished_id = next(iter(pick_wished(table, wishes.id)), None)
    groups = train.groups if wishes.groups is None else wishes.groups
    return TableRoles(
        table,
        ContentColumns(train.content.text, "", {"text": Reason("as in the training table")}),
        train.features,
        train.image,
        wished_id or find_id(table.profiles, used),
        tuple(name for name in groups if name in table.columns),
    )


def _drop_long_texts(table: ProfiledTable) -> ProfiledTable:
    """Return the table without its text columns that have no label values."""
    kept = {n: p for n, p in table.profiles.items() if p.kind != "text" or p.distinct < p.rows / 2}
    return replace(table, profiles=kept)


def explain_missing_text(table: ProfiledTable) -> Problem:
    """Return the problem that no column of a table holds texts."""
    kinds = [f"{profile.name} ({profile.kind})" for profile in table.profiles.values()]
    return Problem(
        f"[{table.role}] text",
        "a column with the texts",
        f"none among the columns {join_some(kinds, 20)}",
        "name it: --text COLUMN, twice for pairs of texts; tables without texts are searched for "
        "wrong labels without MODEL",
    )
