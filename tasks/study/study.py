"""The study file: what was trained, what is asked, and how the answer is computed.

A study is a TOML file. `load_study` reads it into frozen records or raises one `StudyError` that
lists everything wrong with it. The solvers are the records of `fastif.solvers` themselves, so
importing this module imports torch.
"""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from fastif.solvers import Dual
from tasks.study.any_candidates import AnyCandidates
from tasks.study.any_solver import AnySolver
from tasks.study.cross_checks import find_contradictions
from tasks.study.errors import Problem, StudyError, suggest
from tasks.study.fields import DistinctNames, Names, Section
from tasks.study.loss import TrainingLoss, order_class_weights
from tasks.study.magnitudes import drop_unrepresentable
from tasks.study.path_kinds import describe_path
from tasks.study.sections import (
    Carry,
    CertificateSection,
    Curvature,
    Mislabels,
    ModelSource,
    Notify,
    Parameters,
    QuerySource,
    Run,
    StoreSection,
    TableSource,
    Training,
)
from tasks.study.validation_errors import list_problems, make_validation_error

__all__ = ["AnyCandidates", "Study", "StudyError", "init_study", "load_study"]

AUDIT_SECTIONS = {
    "model": {"path": "none"},
    "curvature": {"damping": 1.0},
    "candidates": {"kind": "full"},
}
"""What only an audit needs. A study without all of it can be searched for wrong labels, and has
these in its place, which nothing reads."""


class Study(Section):
    """One study file. Relative paths in it start from its own folder."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """a short name of small letters, digits and hyphens; the store belongs to it"""
    labels: Annotated[Names, Field(min_length=2)]
    """the label names in the order of the model's outputs"""
    models: DistinctNames = ()
    """further checkpoints or seeds of the same training: answers are means over them and [model]"""
    model: ModelSource
    train: TableSource
    queries: QuerySource
    parameters: Parameters = Parameters()
    loss: TrainingLoss = TrainingLoss()
    curvature: Curvature
    solver: AnySolver = Dual()
    candidates: AnyCandidates
    certificate: CertificateSection = CertificateSection()
    run: Run = Run()
    store: StoreSection
    carry: Carry | None = None
    notify: Notify = Notify()
    training: Training | None = None
    mislabels: Mislabels = Mislabels()

    _path: Path = PrivateAttr(default=Path("study.toml"))
    _absent: frozenset[str] = PrivateAttr(default=frozenset())

    def model_post_init(self, context: Any) -> None:
        """Remember the file, which is no key of itself, and what it does without."""
        if context is not None:
            self._path, self._absent = context

    @property
    def has_audit(self) -> bool:
        """Whether it says what an audit needs; else it can only be searched for wrong labels."""
        return not self._absent & AUDIT_SECTIONS.keys()

    @property
    def has_queries(self) -> bool:
        """Whether there are queries."""
        return "queries" not in self._absent

    @property
    def path(self) -> Path:
        """The file this study was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """Where relative paths resolve."""
        return self._path.parent

    def resolve(self, path: str) -> Path:
        """A path of the file as one that can be opened from anywhere."""
        return self.folder / path

    @property
    def weight_decay(self) -> float:
        """The weight decay of training, from whichever section says it."""
        if self.loss.weight_decay is not None:
            return self.loss.weight_decay
        return self.training.decay if self.training else 0.0

    @property
    def penalty(self) -> float:
        """The weight decay as far as it is part of the loss, ½ penalty ‖parameters‖²."""
        return self.weight_decay if self.loss.weight_decay_kind == "coupled" else 0.0

    @property
    def fixed_damping(self) -> float | None:
        """The effective lambda, what [curvature] adds to the diagonal and the penalty.

        None where it is yet to be chosen. A preset of the solver brings its own.
        """
        if self.curvature.damping != "auto":
            return self.curvature.damping + self.penalty
        return self.solver.effective_damping

    @property
    def loss_settings(self) -> dict[str, object]:
        """What of the loss decides an answer: its shape and the penalty; nothing if it is plain."""
        settings: dict[str, object] = {"penalty": self.penalty} if self.penalty else {}
        shape = self.loss.example_settings
        return settings | ({} if shape == TrainingLoss().example_settings else {"loss": shape})

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        problems = list(find_contradictions(self))
        if problems:
            raise make_validation_error(*problems)
        return self


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        StudyError: every problem of the file at once: where, expected, got, what to change.
    """
    values, problems = drop_unrepresentable(_read_toml(path))
    problems += order_class_weights(values)
    absent = _fill_absent_sections(values)
    # Strict JSON is the mode in which lists are tuples and 1 is a float but "1" is no number.
    # A bare TOML date becomes the text it was written as.
    text = json.dumps(values, default=str)
    try:
        study = Study.model_validate_json(text, strict=True, context=(Path(path), absent))
    except ValidationError as error:
        # What stands in for a section that is not there is not to be blamed, nor is a key that was
        # put aside.
        reported = {problem.where for problem in problems}
        field_problems = [
            p for p in list_problems(error, Study) if not _is_in_sections(p.where, absent)
        ]
        raise StudyError(
            path, problems + [p for p in field_problems if p.where not in reported]
        ) from None
    if problems:
        raise StudyError(path, problems)
    return study


def _read_toml(path: Path) -> dict[str, Any]:
    """The file as TOML has it.

    Raises:
        StudyError: it is none.
    """
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(path, [_explain_syntax_error(error)]) from None
    except RecursionError:
        change = "write lists and sections that are not nested so deep"
        raise StudyError(path, [Problem("file", "valid TOML", "deep nesting", change)]) from None
    except ValueError as error:  # Python reads no whole number of more than some thousand digits
        problem = Problem("file", "valid TOML", str(error).split(";")[0], "choose smaller numbers")
        raise StudyError(path, [problem]) from None


def _fill_absent_sections(values: dict[str, Any]) -> frozenset[str]:
    """Put in what a study of labels alone does without, and name it."""
    if AUDIT_SECTIONS.keys() & values.keys() or not isinstance(values.get("train"), dict):
        return frozenset()
    defaults = {**AUDIT_SECTIONS, "queries": values["train"]}
    missing = defaults.keys() - values.keys()
    values |= {name: defaults[name] for name in missing}
    return frozenset(missing)


def _is_in_sections(where: str, sections: frozenset[str]) -> bool:
    return where.partition("]")[0].removeprefix("[") in sections


def init_study(path: Path, template: str = "study_template.toml") -> Path:
    """Write the commented template to a file, or as study.toml into a folder.

    Args:
        path: a new file, or a folder.
        template: labels_template.toml for a study of labels alone.

    Returns:
        The file that was written.

    Raises:
        StudyError: the file exists already, or it cannot be written.
    """
    path = path / "study.toml" if path.is_dir() else path
    text = resources.files("tasks.study").joinpath(template).read_text("utf-8")
    try:
        path.touch(exist_ok=False)
        try:
            path.write_text(text, "utf-8")
        except OSError:
            path.unlink()  # half a study is none
            raise
    except FileExistsError:
        change = "choose another name, or remove the file first"
        raise StudyError(path, [Problem("file", "no file yet", "one exists", change)]) from None
    except OSError as error:
        change = "choose a folder that exists and can be written"
        got = error.strerror or str(error)
        raise StudyError(path, [Problem("file", "a writable place", got, change)]) from None
    return path


def _read_text(path: Path) -> str:
    """The text of a study file; a byte order mark, as some editors write it, is dropped."""
    if not path.is_file():
        got = describe_path(path)
        neighbours = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        hint = suggest(path.name, neighbours)
        change = f"{hint or 'correct the path'}; `fastif init` writes a new one"
        raise StudyError(path, [Problem("file", "a study file (TOML)", got, change)])
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        got = error.strerror or str(error)
        raise StudyError(
            path, [Problem("file", "a readable file", got, "change its permissions")]
        ) from None
    except UnicodeDecodeError as error:
        got = f"a byte that is not, at position {error.start}"
        raise StudyError(
            path, [Problem("file", "text in UTF-8", got, "save the file as UTF-8")]
        ) from None


def _explain_syntax_error(error: tomllib.TOMLDecodeError) -> Problem:
    """Where the TOML breaks; the parser's message ends with the place in brackets."""
    reason, _, place = str(error).rpartition(" (at ")
    change = "correct that line: texts in quotes, paths with /, [section] before its keys"
    return Problem(place.rstrip(")") or "file", "valid TOML", reason or str(error), change)


def check_has_audit(study: Study) -> None:
    """Refuse a study of labels alone where an audit or a model is asked for.

    Raises:
        StudyError: it has none of the sections that say what an audit needs.
    """
    if not study.has_audit:
        expected = f"the sections [queries], {', '.join(f'[{name}]' for name in AUDIT_SECTIONS)}"
        got = "a study that can only be searched for wrong labels (`fastif mislabels`)"
        change = "add them, see `fastif init`"
        raise StudyError(study.path, [Problem("file", expected, got, change)])
