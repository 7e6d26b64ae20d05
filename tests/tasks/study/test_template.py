"""`fastif init` writes a template that explains every key, and overwrites nothing."""

import dataclasses

import pytest

from fastif.solvers import ConjugateGradient, Lissa
from tasks.study.candidates import FullScanSection, UnionSection
from tasks.study.index_sections import KnnSection, SketchSection
from tasks.study.loss import TrainingLoss
from tasks.study.night_sections import Notify
from tasks.study.report_section import ReportLimits
from tasks.study.sections import (
    Curvature,
    ModelSource,
    Parameters,
    Run,
    TableSource,
)
from tasks.study.study import Study, StudyError, init_study, load_study
from tasks.study.training_section import Training
from tests.tasks.study.study_files import write_file


def test_template_loads_once_filled(tmp_path):
    path = init_study(tmp_path)
    assert path == tmp_path / "study.toml"
    text = path.read_text("utf-8")
    for old, new in [
        ("train.csv", "mine.parquet"),
        ("queries.csv", "asked.jsonl"),
        ('text = "text"', 'text = ["premise", "hypothesis"]'),
        ('label = "label"', 'label = "gold"'),
    ]:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    study = load_study(path)
    assert study.train.table == "mine.parquet"
    assert study.queries.table == "asked.jsonl"
    assert study.queries.text == ("premise", "hypothesis")
    assert study.queries.label == "gold"


def test_template_explains_every_key(tmp_path):
    """Each key of each section is in the template, active or as a comment."""
    text = init_study(tmp_path / "new.toml").read_text("utf-8")
    for name in Study.model_fields:
        assert f"[{name}]" in text or f"{name} = " in text
    sections = (
        ModelSource,
        TableSource,
        Parameters,
        TrainingLoss,
        Curvature,
        KnnSection,
        SketchSection,
        Run,
    )
    for section in (*sections, UnionSection, FullScanSection, Notify, ReportLimits, Training):
        for key in section.model_fields:
            assert f"{key} = " in text, f"{section.__name__} {key}"
    for solver in (ConjugateGradient, Lissa):
        for field in dataclasses.fields(solver):
            assert f"{field.name} = " in text, f"{solver.__name__} {field.name}"


def test_init_never_overwrites(tmp_path):
    path = write_file(tmp_path, "# mine")
    for target in (path, tmp_path):
        with pytest.raises(StudyError, match="exists") as caught:
            init_study(target)
        assert str(path) in str(caught.value)
    assert path.read_text() == "# mine"
    with pytest.raises(StudyError, match="make the folder first"):
        init_study(tmp_path / "none" / "study.toml")
