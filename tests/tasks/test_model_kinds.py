"""Each cell of the table of docs/reference/model-kinds.md: what it says happens."""

import html
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import command_line
import polars as pl
import pytest
import reference
import tiny
import torch
from model_kinds import (
    ModelKind,
    make_adapter,
    make_decoder,
    make_encoder,
    make_images,
    make_own,
)
from torch import Tensor

from fastif import InputError
from fastif.correction import Correction
from storage import Store
from tasks.correction.correct_model import CorrectionRequest, correct_model
from tasks.data.inputs import read_inputs
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.results import read_result
from tasks.models.finetune import train_model
from tasks.report.build import ReportRequest, build_report
from tasks.study.errors import StudyError
from tasks.study.study import load_study

PAGE = Path(__file__).parents[2] / "docs/reference/model-kinds.md"
FULL = {"kind": "full"}
SHORT = {("init", "text encoder"), ("init", "own module"), ("audit, exact", "decoder")}
"""Cells of the default suite next to the refusals; other tests audit the other kinds exactly."""


def read_cells() -> list[tuple[str, str, str]]:
    """Column, kind and cell of the page's first table."""
    first = PAGE.read_text("utf-8").partition("\n| column |")[0]
    lines = [line for line in first.splitlines() if line.startswith("| ")]
    header, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines)
    rows = [row for row in rows if row[0] != "---"]
    return [
        (column, row[0], cell)
        for row in rows
        for column, cell in zip(header[1:], row[1:], strict=True)
    ]


@pytest.fixture(scope="module")
def get_kind(tmp_path_factory):
    """Make a kind's study once."""
    with pytest.MonkeyPatch.context() as patch:
        makers: dict[str, Callable[[Path], ModelKind]] = {
            "text encoder": make_encoder,
            "decoder": make_decoder,
            "LoRA adapter": make_adapter,
            "image classifier": make_images,
            "own module": lambda folder: make_own(folder, patch),
        }
        yield cache(lambda name: makers[name](tmp_path_factory.mktemp("kind") / "study"))


def read_labels(kind: ModelKind, table: str) -> Tensor:
    inputs = read_inputs(kind.write())
    return torch.tensor((inputs.train if table == "train" else inputs.queries).labels)


def compute_accuracy(kind: ModelKind, folder: Path, table: str) -> float:
    chosen = kind.compute_logits(folder, table).argmax(1)
    return float((chosen == read_labels(kind, table)).double().mean())


def audit(kind: ModelKind, **changes: dict) -> tuple[Store, str]:
    return tiny.run_directly(kind.write(**changes))


def read_effects(kind: ModelKind, **changes: dict) -> Tensor:
    """Effects in the order of ids, all finite."""
    scores = tiny.scores_by_id(*audit(kind, **changes))
    assert scores.height == math.prod(len(read_labels(kind, t)) for t in ("train", "queries"))
    effects = scores["removal_effect"].cast(pl.Float64).to_torch()
    assert effects.isfinite().all()
    assert effects.std() > 0
    return effects


def check_init(kind: ModelKind) -> None:
    target = kind.folder / "new.toml"
    arguments = ("init", kind.model, *kind.tables, *kind.init, "--yes", "--no-forecast")
    code, out, message = command_line.run(*arguments, "--out", target)
    assert code == 0, out + message
    study = load_study(target)
    assert list(study.labels) == kind.labels
    assert len(read_inputs(target).train) == len(read_labels(kind, "train"))


def check_doctor(kind: ModelKind) -> None:
    """The doctor counts the training rows that the model itself predicts correctly."""
    code, out, message = command_line.run("doctor", "--study", kind.write())
    assert code == 0, out + message
    rows = len(read_labels(kind, "train"))
    correct = round(rows * compute_accuracy(kind, kind.model, "train"))
    assert f"{correct} of {rows} training rows are predicted correctly" in " ".join(out.split())


def check_exact(kind: ModelKind) -> None:
    """Probabilities and predictions are the model's own; there are effects of all pairs."""
    store, run = audit(kind, candidates=FULL)
    for table, key in tiny.KEYS:
        stored = store.scan(table, run).sort(key).collect()
        shares = kind.compute_logits(kind.model, table).double().softmax(1)
        labels = read_labels(kind, table)
        expected = shares[torch.arange(len(labels)), labels]
        given = stored["probability"].cast(pl.Float64).to_torch()
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
        names = [kind.labels[i] for i in shares.argmax(1).tolist()]
        assert stored["prediction"].to_list() == names
    read_effects(kind, candidates=FULL)


def check_sketches(kind: ModelKind) -> None:
    """Candidates of sketches that are all rows have the exact effects."""
    rows = len(read_labels(kind, "train"))
    sketched = read_effects(kind, candidates={"kind": "sketch", "k": rows, "check": 0})
    exact = read_effects(kind, candidates=FULL)
    torch.testing.assert_close(sketched, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


def check_factors(kind: ModelKind) -> None:
    """Effects of EK-FAC are correlated with the exact ones, and differ from them."""
    approximate = read_effects(kind, solver={"kind": "spectral"}, candidates=FULL)
    exact = read_effects(kind, candidates=FULL)
    assert 0.6 < reference.pearson(approximate, exact) < 0.99999


def check_mislabels(kind: ModelKind) -> None:
    study = kind.write(candidates=FULL)
    digest = detect_mislabels.fn(str(study))
    loaded = load_study(study)
    store = Store.open(kind.folder / "store", loaded.name)
    table = read_result(store, digest).table
    assert len(table) == len(read_labels(kind, "train"))
    assert table["probability"].is_between(0, 1).all()
    assert table["probability"].n_unique() > 10


def check_report(kind: ModelKind) -> None:
    """The page names the query with the largest loss."""
    store, run = audit(kind, candidates=FULL)
    path = kind.folder / "page.html"
    study = kind.write(candidates=FULL)
    build_report.fn(ReportRequest(str(study), run, out=str(path)))
    queries = store.scan("queries", run).collect().sort("loss", descending=True)
    assert html.escape(queries["id"][0]) in path.read_text("utf-8")


def check_correction(kind: ModelKind) -> None:
    """The written model is the corrected one, as its own library reads it."""
    folder = kind.folder / "corrected"
    steps = Correction(steps=2, learning_rate=0.05)
    study = kind.write(candidates=FULL)
    request = CorrectionRequest(study, kind.tables[0], folder, None, steps, True)
    result = correct_model.fn(request)
    (change,) = [part for part in result.slices if part.name == "all queries"]
    assert change.before == pytest.approx(compute_accuracy(kind, kind.model, "queries"))
    assert change.after == pytest.approx(compute_accuracy(kind, folder, "queries"))
    before, after = (kind.compute_logits(f, "queries") for f in (kind.model, folder))
    assert float((after - before).abs().max()) > 1e-3


def check_training(kind: ModelKind) -> None:
    """The saved model has the accuracy that its training states."""
    model = {**kind.sections.get("model", {}), "path": "retrained"}
    result = train_model.fn(str(kind.write(model=model, training=kind.training)))
    assert not result.skipped
    expected = compute_accuracy(kind, kind.folder / "retrained", "train")
    assert result.accuracy == pytest.approx(expected)


CHECKS: dict[str, Callable[[ModelKind], None]] = {
    "init": check_init,
    "doctor": check_doctor,
    "audit, exact": check_exact,
    "sketches": check_sketches,
    "EK-FAC": check_factors,
    "mislabels": check_mislabels,
    "report": check_report,
    "correct": check_correction,
    "train": check_training,
}


def mark_cells() -> list:
    """The cells, of which the slow ones run with `-m long`."""
    return [
        pytest.param(
            column,
            kind,
            cell,
            id=f"{kind}, {column}",
            marks=() if cell != "yes" or (column, kind) in SHORT else pytest.mark.long,
        )
        for column, kind, cell in read_cells()
    ]


@pytest.mark.parametrize(("column", "name", "cell"), mark_cells())
def test_cell(get_kind, column, name, cell):
    """A cell says yes, and the check of its column passes, or it has the words of the refusal."""
    kind = get_kind(name)
    if cell == "yes":
        CHECKS[column](kind)
        return
    words = re.escape(cell.strip("“”"))
    with pytest.raises((InputError, StudyError), match=words):
        CHECKS[column](kind)


def test_the_page_has_every_cell():
    assert {(column, kind) for column, kind, _ in read_cells()} == {
        (column, kind)
        for column in CHECKS
        for kind in ("text encoder", "decoder", "LoRA adapter", "image classifier", "own module")
    }
