"""A torch module of one's own with numbers or several labels a row, against dense matrices."""

import command_line
import own_package
import polars as pl
import pytest
import reference
import tiny
import torch
from safetensors.torch import load_file
from truth import table

KINDS = {
    "load_number": (
        1,
        {"target": "number", "labels": None},
        {"label": "limit"},
        reference.squared_error,
        ["limit"],
    ),
    "load_several": (
        2,
        {"target": "multi-label", "labels": ["old", "rich"]},
        {"label": None, "labels": ["old", "rich"]},
        lambda outputs, yes: reference.binary_cross_entropy(outputs, yes) / 2,
        ["old", "rich"],
    ),
}
SUM = {"reduction": "sum"}


def _make(folder, function, **changes):
    """The study of the package, whose tables have further columns."""
    outputs, top, section, *_ = KINDS[function.removesuffix("_sigmoid").removesuffix("_sum")]
    study, *_ = own_package.make_study(
        folder, function, outputs, top=top, train=section, queries=section, **changes
    )
    for name in ("train", "queries"):
        rows = pl.read_parquet(folder / f"{name}.parquet")
        income, age = pl.col("income"), pl.col("age")
        rows.with_columns(
            limit=2 * income + age / 50,
            old=(age > 45).cast(pl.Int8),
            rich=(income > 0.2).cast(pl.Int8),
        ).write_parquet(folder / f"{name}.parquet")
    return study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    own_package.install(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.parametrize("function", KINDS)
def test_effects_equal_those_of_dense_matrices(folder, function):
    outputs, _, _, loss, columns = KINDS[function]
    store, run = tiny.run_directly(_make(folder, function))
    network = own_package.Network(outputs).double()
    weights = load_file(folder / "weights" / "weights.safetensors")
    network.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    names = [name for name, _ in network.named_parameters()]

    def make_problem(name):
        rows = pl.read_parquet(folder / f"{name}.parquet").to_dicts()
        targets = [torch.tensor([float(row[c]) for c in columns]).double() for row in rows]
        inputs = [own_package.encode(row) for row in rows]
        return reference.Problem(network, names, inputs, targets, loss)

    problems = make_problem("queries"), make_problem("train")
    gradients = [reference.gradients(problem) for problem in problems]
    effects = reference.removal_effects(*gradients, reference.gauss_newton(problems[1]), 0.01)
    scores = store.scan("scores", run).collect()
    assert len(scores) == 60 * 6
    expected = table(effects, scores)
    given = torch.tensor(scores["removal_effect"].to_list(), dtype=torch.float64)
    assert torch.allclose(given, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("names", [["old", "rich"], ["rich", "old"]])
def test_an_exchanged_order_of_labels_is_told_before_the_audit(folder, names):
    """A module whose outputs say exactly what the columns old and rich say, in this order."""
    study = _make(folder, "load_several")
    source = folder / "source" / own_package.NAME / "__init__.py"
    rule = "return 20 * numbers[:, :2] - torch.tensor([18.2, 4.0])"
    text = source.read_text()
    line = next(line for line in text.splitlines() if "return self.head(torch.tanh" in line)
    kept = f"{rule} + 0 * self.head(torch.tanh(self.body(torch.cat([numbers, self.job(job)], 1))))"
    source.write_text(text.replace(line.strip(), kept))
    words = study.read_text()
    study.write_text(words.replace('["old", "rich"]', f'["{names[0]}", "{names[1]}"]'))
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert code == 0, message
    words = " ".join((out + message).split())
    assert ("fit the order old, rich better" in words) == (names == ["rich", "old"])


@pytest.mark.parametrize(
    ("function", "loss"),
    [("load_several_sum", {}), ("load_several", {"kind": "focal"}), ("load_several", SUM)],
)
def test_a_loss_that_is_stated_twice_has_to_be_one(folder, function, loss):
    study = _make(folder, function, loss=loss)
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert code == 2, out
    assert "State the loss in one place" in " ".join(message.split())


@pytest.mark.parametrize(
    ("function", "top", "words"),
    [
        ("load_several_sigmoid", {}, "without its sigmoid"),
        ("load_number", {"target": "multi-label", "labels": ["old", "rich"]}, "2 outputs"),
        ("load_several", {"target": "number", "labels": None}, "None as loss"),
    ],
)
def test_modules_that_do_not_fit_their_target_are_refused(folder, function, top, words):
    study = _make(folder, function)
    if top:
        other = "load_several" if function == "load_number" else "load_number"
        study = tiny.write_study(
            folder,
            **{
                "top": top,
                "model": {
                    "path": "weights",
                    "factory": f"{own_package.NAME}:{function}",
                    "max_length": None,
                },
                "parameters": {"attributed": None},
                **{
                    name: {
                        "table": f"{name}.parquet",
                        "features": ["age", "income", "job"],
                        "text": None,
                        "groups": None,
                        **KINDS[other][2],
                    }
                    for name in ("train", "queries")
                },
            },
        )
    _, out, message = command_line.run("doctor", study)
    assert "Traceback" not in out + message
    assert words in " ".join((out + message).split())
