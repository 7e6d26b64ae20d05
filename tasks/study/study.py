"""The study file: model, tables and settings of an audit or of a search for wrong labels.

A study is a TOML file. `load_study` reads it into frozen records, or raises one `StudyError` that
lists every problem. It needs no torch, so a faulty study is refused at once.
"""

import codecs
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from fastif.solvers.settings import DualSettings
from tasks.study.any_candidates import AnyCandidates
from tasks.study.any_solver import AnySolver
from tasks.study.cross_checks import find_contradictions
from tasks.study.errors import Problem, StudyError
from tasks.study.estimator_section import EstimatorSection
from tasks.study.fields import DistinctNames, Names, Section
from tasks.study.loss import TrainingLoss, order_class_weights
from tasks.study.magnitudes import drop_unrepresentable
from tasks.study.nearby_studies import suggest_study
from tasks.study.new_study import write_new_file
from tasks.study.night_sections import Carry, Notify
from tasks.study.own_model_check import attribute_whole_module
from tasks.study.path_kinds import describe_path
from tasks.study.report_section import ReportLimits
from tasks.study.sections import (
    CertificateSection,
    Curvature,
    Mislabels,
    ModelSource,
    Parameters,
    QuerySource,
    Run,
    StoreSection,
    TrainSource,
)
from tasks.study.target_kind import TargetKind, name_number_outputs
from tasks.study.training_section import Training
from tasks.study.tree_study import TreeSettings, fill_tree_sections, is_tree_file
from tasks.study.validation_errors import list_problems, make_validation_error

__all__ = ["AnyCandidates", "Study", "StudyError", "init_study", "load_study"]

AUDIT_SECTIONS = {
    "model": {"path": "none"},
    "curvature": {"damping": 1.0},
    "candidates": {"kind": "full"},
}
"""Sections that only an audit needs, with placeholders that a search for wrong labels ignores."""


class Study(Section):
    """One study file. Relative paths in it start from its own folder."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """a short name of lower-case characters, digits and hyphens; the store belongs to it"""
    labels: Names
    """the label names in the order of the model's outputs"""
    target: TargetKind = "class"
    """what a row is labelled with; one class a row if omitted"""
    models: DistinctNames = ()
    """further seeds or checkpoints of the same training: scores are means over them and [model]"""
    model: ModelSource
    train: TrainSource
    queries: QuerySource
    parameters: Parameters = Parameters()
    loss: TrainingLoss = TrainingLoss()
    curvature: Curvature
    estimator: EstimatorSection = EstimatorSection()
    solver: AnySolver = DualSettings()
    candidates: AnyCandidates
    certificate: CertificateSection = CertificateSection()
    run: Run = Run()
    store: StoreSection
    carry: Carry | None = None
    notify: Notify = Notify()
    report: ReportLimits = ReportLimits()
    training: Training | None = None
    trees: TreeSettings = TreeSettings()
    mislabels: Mislabels = Mislabels()

    _path: Path = PrivateAttr(default=Path("study.toml"))
    _absent: frozenset[str] = PrivateAttr(default=frozenset())

    def model_post_init(self, context: Any) -> None:
        """Store the path of the file and the names of its absent sections."""
        if context is not None:
            self._path, self._absent = context

    @property
    def has_audit(self) -> bool:
        """Whether the study supports an audit; otherwise only the search for wrong labels."""
        return not self._absent & AUDIT_SECTIONS.keys()

    @property
    def has_queries(self) -> bool:
        """Whether the study has queries."""
        return "queries" not in self._absent

    @property
    def path(self) -> Path:
        """Path of the study file."""
        return self._path

    @property
    def folder(self) -> Path:
        """Folder of the study file, from which relative paths start."""
        return self._path.parent

    def resolve(self, path: str) -> Path:
        """Resolve a path of the study relative to its folder."""
        return self.folder / path

    @property
    def model_kind(self) -> Literal["text", "image", "own", "trees"]:
        """Kind of the model: of texts or images, boosted trees, or made by `[model] factory`."""
        if self.model.factory is not None:
            return "own"
        if self.train.features and is_tree_file(self.model.path):
            return "trees"
        return "image" if self.train.image is not None else "text"

    @property
    def has_trees(self) -> bool:
        """Whether the model is a file of boosted trees."""
        return self.model_kind == "trees"

    @property
    def further_models(self) -> tuple[str, ...]:
        """Models other than that of `[model]`: further trainings, then checkpoints of this one."""
        return (*self.models, *self.estimator.folders)

    @property
    def weight_decay(self) -> float:
        """Weight decay of training, from `[loss]` or `[training]`."""
        if self.loss.weight_decay is not None:
            return self.loss.weight_decay
        return self.training.decay if self.training else 0.0

    @property
    def penalty(self) -> float:
        """L2 penalty in the loss, ½ penalty ‖parameters‖²: the weight decay if it is coupled."""
        return self.weight_decay if self.loss.weight_decay_kind == "coupled" else 0.0

    @property
    def fixed_damping(self) -> float | None:
        """Effective λ: damping of `[curvature]` plus the penalty; None where it is not chosen yet.

        A preset of the solver has its own.
        """
        if self.curvature.damping != "auto":
            return self.curvature.damping + self.penalty
        return self.solver.effective_damping

    @property
    def score_precision(self) -> Literal["auto", "single", "tf32", "bf16"]:
        """Precision of scores: of `[candidates]` where it is an older study's, else of `[run]`."""
        is_half = self.candidates.has_half_precision
        return "bf16" if is_half else self.run.precision

    @property
    def loss_settings(self) -> dict[str, object]:
        """Settings of the loss that results depend on; empty for plain cross-entropy."""
        settings: dict[str, object] = {"penalty": self.penalty} if self.penalty else {}
        shape = self.loss.example_settings
        settings |= {} if self.model.subwords == "first" else {"subwords": self.model.subwords}
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
        StudyError: all problems of the file, each with place, expected, got and remedy.
    """
    values, problems = drop_unrepresentable(_read_toml(path))
    problems += [*order_class_weights(values), *name_number_outputs(values)]
    problems += fill_tree_sections(values)
    absent = _fill_absent_sections(values)
    attribute_whole_module(values)
    # In strict JSON mode lists are accepted as tuples and 1 as a float, but "1" is not a number.
    # A bare TOML date becomes the text it was written as.
    text = json.dumps(values, default=str)
    try:
        study = Study.model_validate_json(text, strict=True, context=(Path(path), absent))
    except ValidationError as error:
        # Problems of placeholders of absent sections are skipped, and of keys already reported.
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
    """Parse the TOML file.

    Raises:
        StudyError: the file is not valid TOML.
    """
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(path, [_explain_syntax_error(error)]) from None
    except RecursionError:
        change = "reduce the nesting of lists and sections"
        raise StudyError(path, [Problem("file", "valid TOML", "deep nesting", change)]) from None
    except ValueError as error:  # Python refuses whole numbers of several thousand digits
        problem = Problem("file", "valid TOML", str(error).split(";")[0], "choose smaller numbers")
        raise StudyError(path, [problem]) from None


def _fill_absent_sections(values: dict[str, Any]) -> frozenset[str]:
    """Add placeholders of the sections that a labels-only study lacks; return their names."""
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
        path: New file, or a folder; returned is the file.
        template: File name of the template; `labels_template.toml` for a labels-only study.

    Raises:
        StudyError: the file exists already, or it cannot be written.
    """
    path = path / "study.toml" if path.is_dir() else path
    text = resources.files("tasks.study").joinpath(template).read_text("utf-8")
    write_new_file(path, text)
    return path


def _read_text(path: Path) -> str:
    """Read the text of a study file without the byte order mark that some editors write."""
    if not path.is_file():
        change = f"{suggest_study(path)}; `fastif init` writes a new one"
        problem = Problem("file", "a study file (TOML)", describe_path(path), change)
        raise StudyError(path, [problem])
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        got = error.strerror or str(error)
        raise StudyError(
            path, [Problem("file", "a readable file", got, "change its permissions")]
        ) from None
    except UnicodeDecodeError as error:
        got = f"a byte that is not UTF-8, at position {error.start}"
        if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            got = "UTF-16"
        raise StudyError(
            path, [Problem("file", "text in UTF-8", got, "save the file as UTF-8")]
        ) from None


def _explain_syntax_error(error: tomllib.TOMLDecodeError) -> Problem:
    """Convert a parser error to a problem; its message ends with the place in parentheses."""
    reason, _, place = str(error).rpartition(" (at ")
    change = "correct this line: texts in quotes, paths with /, [section] before its keys"
    return Problem(place.rstrip(")") or "file", "valid TOML", reason or str(error), change)


def check_has_audit(study: Study) -> None:
    """Refuse a labels-only study where an audit or a model is needed.

    Raises:
        StudyError: the sections of an audit are absent.
    """
    if not study.has_audit:
        expected = f"the sections [queries], {', '.join(f'[{name}]' for name in AUDIT_SECTIONS)}"
        got = "a labels-only study, which supports only `fastif mislabels`"
        change = "run `fastif mislabels`; or add these sections for an audit, see `fastif init`"
        raise StudyError(study.path, [Problem("file", expected, got, change)])
