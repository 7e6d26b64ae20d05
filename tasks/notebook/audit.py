"""Audit of a model and its tables as a Python session has them; `fastif.audit` calls it."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastif import InputError
from storage.atomic import write_bytes
from tasks.audit.in_process import audit_in_process
from tasks.notebook.argument_names import rename_arguments
from tasks.notebook.models import GivenModel, read_trainer, save_model
from tasks.notebook.result import AuditResult
from tasks.notebook.study_settings import override_settings
from tasks.notebook.tables import GivenTable, write_table
from tasks.notebook.torch_defaults import use_torch_defaults
from tasks.onboarding.choose_columns import Wishes
from tasks.onboarding.describe import describe_proposal, list_warnings
from tasks.onboarding.propose import Proposal, Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.onboarding.write_study import make_slug, render_proposal
from tasks.run.spec import plan_run
from tasks.runtime.foreign_errors import wrap_library_errors
from tasks.runtime.progress import print_line

HEAD = "# Written by fastif.audit; its next call with this folder replaces the file.\n"
STUDY, MODEL, STORE = "study.toml", "model", "store"
DEFAULT_NAME = "notebook"

_temporary: list[tempfile.TemporaryDirectory] = []
"""Folders of audits without a folder of their own, deleted when Python ends."""


@dataclass(frozen=True)
class Choices:
    """Columns and settings that the caller names; None for those to infer.

    Attributes:
        text: Text column, or two of them.
        label: Label column.
        labels: Labels in the order of the model's outputs.
        id: Column of ids.
        groups: Group columns.
        parameters: Attributed parameters.
        damping: Damping of the curvature.
        budget: Time budget.
    """

    text: str | Sequence[str] | None = None
    label: str | Sequence[str] | None = None
    labels: Sequence[str] | None = None
    id: str | None = None
    groups: str | Sequence[str] | None = None
    parameters: str | Sequence[str] | None = None
    damping: float | str | None = None
    budget: str | None = None

    @property
    def named_columns(self) -> list[str]:
        """Columns of both tables that must be stored."""
        return [*_list(self.text), *_list(self.label), *_list(self.id), *_list(self.groups)]

    @property
    def settings(self) -> dict[tuple[str, str], object]:
        """Keys of the study that are not columns."""
        keys = {
            ("parameters", "attributed"): self.parameters,
            ("curvature", "damping"): self.damping,
            ("run", "budget"): self.budget,
        }
        return {key: value for key, value in keys.items() if value is not None}


@use_torch_defaults()
@wrap_library_errors
def audit(
    model: Any,
    tokenizer: Any = None,
    train: Any = None,
    queries: Any = None,
    folder: str | PathLike[str] | None = None,
    **choices: Any,
) -> AuditResult:
    """Audit a model and tables, or a study file; see `fastif.audit` for the arguments.

    Raises:
        InputError, StudyError, StoreError: An argument, the model or a table cannot be used.
    """
    if isinstance(model, str | PathLike) and Path(model).suffix == ".toml":
        given = {"tokenizer": tokenizer, "train": train, "queries": queries, "folder": folder}
        _refuse_second_source(
            {name for name, value in (given | choices).items() if value is not None}
        )
        return _audit_study(Path(model).expanduser(), ())
    chosen = Choices(**choices)
    source = read_trainer(model, tokenizer)
    place = _open_folder(folder)
    tables = _write_tables(source, train, queries, place, chosen)
    with rename_arguments():
        name = save_model(source.model, source.tokenizer, place / MODEL)
        request = _make_request(name, tables, chosen)
        proposal = propose_study(request, BestGuesses())
    _write_study(proposal, place, folder is not None, chosen, source)
    notes = (*(note for table in tables for note in table.notes), *list_warnings(proposal))
    inferred = tuple(describe_proposal(proposal))
    print_line("\n".join(_describe(inferred, notes, place, folder is None)))
    return _audit_study(place / STUDY, notes, inferred)


def _audit_study(
    study: Path, notes: Sequence[str], inferred: Sequence[tuple[str, str, str]] = ()
) -> AuditResult:
    store, run = audit_in_process(plan_run(study))
    return AuditResult(study, run, store, tuple(notes), tuple(inferred))


def _refuse_second_source(names: set[str]) -> None:
    """Refuse other arguments with a study file, which has them all.

    Raises:
        InputError: There are some.
    """
    if names:
        raise InputError(
            f"fastif.audit, {', '.join(sorted(names))}",
            "a study file alone",
            "a study file and other arguments",
            "Set them in the study file.",
        )


def _open_folder(folder: str | PathLike[str] | None) -> Path:
    """Return an empty folder or that of an earlier call.

    Raises:
        InputError: It is a file, or has a study or tables that no earlier call wrote.
    """
    if folder is None:
        _temporary.append(tempfile.TemporaryDirectory(prefix="fastif-", ignore_cleanup_errors=True))
        return Path(_temporary[-1].name)
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise InputError(f"folder {path}", "a folder", "a file", "Give another folder.")
    path.mkdir(parents=True, exist_ok=True)
    study = path / STUDY
    is_own = study.is_file() and study.read_text("utf-8", "replace").startswith(HEAD)
    taken = [path / name for name in (STUDY, "train.parquet", "queries.parquet", MODEL)]
    taken = [] if is_own else [other for other in taken if other.exists()]
    if taken:
        remedy = "Give another folder"
        remedy += f', or fastif.audit("{study}").' if study in taken else "."
        raise InputError(
            f"folder {path}", "a new folder, or that of an earlier call", f"{taken[0]}", remedy
        )
    if not is_own:  # from now on the folder of an earlier call, also if this one fails
        write_bytes(study, HEAD.encode())
    return path


def _write_tables(
    source: GivenModel, train: Any, queries: Any, folder: Path, choices: Choices
) -> tuple[GivenTable, GivenTable]:
    train = source.train if train is None else train
    queries = source.queries if queries is None else queries
    return (
        write_table(train, "train", folder, choices.named_columns),
        write_table(queries, "queries", folder, choices.named_columns),
    )


def _make_request(model: str, tables: tuple[GivenTable, GivenTable], choices: Choices) -> Request:
    train, queries = tables
    ids = [name for name in (train.id, queries.id) if name]
    wishes = Wishes(
        tuple(_list(choices.text)),
        tuple(_list(choices.label)),
        tuple(_list(choices.id) or dict.fromkeys(ids)),
        None if choices.groups is None else tuple(_list(choices.groups)),
    )
    return Request(model, train.path, queries.path, wishes, tuple(_list(choices.labels)))


def _write_study(
    proposal: Proposal, folder: Path, is_named: bool, choices: Choices, source: GivenModel
) -> None:
    name = (make_slug(folder.name) if is_named else "") or DEFAULT_NAME
    settings: dict[tuple[str, str], object] = {
        ("store", "path"): STORE,  # also if it is there from an earlier call
        **{("loss", key): value for key, value in source.loss.items()},
        **choices.settings,
    }
    text = render_proposal(proposal, folder / STUDY, name)
    write_bytes(folder / STUDY, (HEAD + override_settings(text, settings)).encode())


def _describe(
    inferred: Sequence[tuple[str, str, str]], notes: Sequence[str], folder: Path, is_deleted: bool
) -> Iterator[str]:
    """Yield what was inferred and where everything is written."""
    for key, value, reason in inferred:
        yield f"{key}: {value}" + (f" ({reason})" if reason else "")
    yield from notes
    end = ", which is deleted when Python ends; give folder= to keep it" if is_deleted else ""
    yield f"Study, tables and results are in {folder}{end}."


def _list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return list(map(str, value)) if isinstance(value, list | tuple) else [str(value)]
