"""A study of any torch module, from `[model] factory` to its effects, against dense matrices."""

import command_line
import own_package
import polars as pl
import pytest
import reference
import tiny
import torch
from safetensors.torch import load_file
from truth import table

from fastif import InputError
from tasks.mislabels.detect import detect_mislabels
from tasks.models.model_function import import_model_function
from tasks.results.summary import read_summary
from tasks.run.fingerprint_inputs import compute_model_digests
from tasks.study.errors import StudyError
from tasks.study.study import load_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    own_package.install(tmp_path, monkeypatch)
    return tmp_path


def binary_cross_entropy(outputs, target):
    sign = 2 * float(target) - 1
    return torch.nn.functional.softplus(-sign * outputs[0])


def list_contents(folder):
    """The files of a folder but for the compiled code that Python's import leaves."""
    files = command_line.contents(folder)
    return {name: content for name, content in files.items() if "__pycache__" not in name}


def refuse(folder, study):
    """The refusal of a forecast, which changed nothing, after the warning about own code."""
    before = list_contents(folder)
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert (code, list_contents(folder)) == (2, before)
    assert "Traceback" not in out + message
    return message[message.index("Refused. ") :]


@pytest.mark.default_cases(
    "load-2-cross_entropy-cross_entropy",
    "load_binary-1-binary_cross_entropy-binary_cross_entropy",
)
@pytest.mark.parametrize(
    ("function", "outputs", "training_loss", "query_loss"),
    [
        ("load", 2, reference.cross_entropy, reference.cross_entropy),
        ("load_binary", 1, binary_cross_entropy, binary_cross_entropy),
        ("load_log_softmax", 2, reference.cross_entropy, reference.cross_entropy),
        (
            "load_smoothed",
            2,
            reference.smoothed_cross_entropy(0.1, [1.0, 1.0]),
            reference.cross_entropy,
        ),
    ],
)
def test_effects(folder, function, outputs, training_loss, query_loss):
    """Removal effects are those of dense double precision matrices, for each loss."""
    study, train, queries = own_package.make_study(folder, function, outputs)
    store, run = tiny.run_directly(study)
    network = own_package.Network(outputs).double()
    weights = load_file(folder / "weights" / "weights.safetensors")
    network.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    names = [name for name, _ in network.named_parameters()]

    def make_problem(rows, loss):
        targets = [torch.tensor([own_package.LABELS.index(row["label"])]) for row in rows]
        inputs = [own_package.encode(row) for row in rows]
        return reference.Problem(network, names, inputs, targets, loss)

    problems = make_problem(queries, query_loss), make_problem(train, training_loss)
    gradients = [reference.gradients(problem) for problem in problems]
    matrix = reference.gauss_newton(problems[1])
    effects = reference.removal_effects(*gradients, matrix, 0.01)
    scores = store.scan("scores", run).collect()
    assert len(scores) == 60 * 6
    expected = table(effects, scores)
    given = torch.tensor(scores["removal_effect"].to_list(), dtype=torch.float64)
    assert torch.allclose(given, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    predictions = store.scan("queries", run).collect()
    logits = torch.cat([network(**given).logits.detach() for given in problems[0].inputs])
    chosen = (logits[:, 0] > 0).long() if outputs == 1 else logits.argmax(1)
    assert predictions.sort("query")["prediction"].to_list() == [
        own_package.LABELS[i] for i in chosen.tolist()
    ]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("load_random", "the same weights at each call"),
        ("load_hinge", "a loss of fastif"),
        ("load_alone", "a tuple of three"),
        ("load_failing", "a function that returns a model"),
        ("load_labels", "names of the module's arguments"),
        ("absent", "no function 'absent'"),
        ("load_dropout", "the same outputs each time"),
        ("load_softmax", "without its softmax"),
        ("load_sigmoid", "without its sigmoid"),
    ],
)
def test_refused_functions(folder, function, expected):
    """A function that makes no usable model is refused by the command, without a traceback."""
    outputs = 1 if function == "load_sigmoid" else 2
    study, *_ = own_package.make_study(folder, function, outputs)
    message = refuse(folder, study)
    assert expected in message


def test_a_row_that_cannot_be_collated_is_refused(folder):
    """A category that the collate function does not know names the function, not transformers."""
    study, *_ = own_package.make_study(folder)
    queries = pl.read_parquet(folder / "queries.parquet").with_columns(pl.lit("pilot").alias("job"))
    queries.write_parquet(folder / "queries.parquet")
    message = refuse(folder, study)
    assert "collate function" in message
    assert "ValueError: 'pilot'" in message


def test_queries_have_the_names_of_the_training_columns(folder):
    """The collate function reads queries whose columns have other names, with equal scores."""
    study, *_ = own_package.make_study(folder)
    store, run = tiny.run_directly(study)
    expected = store.scan("scores", run).collect()["removal_effect"].to_list()
    queries = pl.read_parquet(folder / "queries.parquet").rename({"age": "years"})
    queries.write_parquet(folder / "queries.parquet")
    text = study.read_text()
    place = text.index("[queries]")
    study.write_text(text[:place] + text[place:].replace('"age"', '"years"', 1))
    store, run = tiny.run_directly(study)
    assert store.scan("scores", run).collect()["removal_effect"].to_list() == expected


def test_single_logit_without_its_loss(folder):
    """One output for two labels needs the binary loss: a softmax of one output is constant."""
    study, *_ = own_package.make_study(folder, "load")
    own_package_outputs = own_package.fit(own_package.write_rows(folder / "x.parquet", 9, 2), 1)
    assert own_package_outputs.head.out_features == 1
    text = (folder / "source" / own_package.NAME / "__init__.py").read_text()
    path = folder / "source" / own_package.NAME / "__init__.py"
    path.write_text(text.replace("def load(folder, outputs=2", "def load(folder, outputs=1"))
    (folder / "weights" / "weights.safetensors").unlink()
    from safetensors.torch import save_file

    state = {k: v.float() for k, v in own_package_outputs.state_dict().items()}
    save_file(state, folder / "weights" / "weights.safetensors")
    message = refuse(folder, study)
    assert "2 outputs, one for each label" in message
    assert "BCEWithLogitsLoss" in message


@pytest.mark.parametrize(
    ("section", "keys", "expected"),
    [
        ("parameters", {"attributed": "last:1"}, "[parameters] attributed"),
        ("model", {"max_length": 12}, "[model] max_length"),
        ("training", {"base": "base", "epochs": 1}, "[training]"),
        ("model", {"factory": "os.system"}, "factory"),
    ],
)
def test_refused_keys(folder, section, keys, expected):
    """Keys without a meaning for a module of one's own are refused when the study is read."""
    study, *_ = own_package.make_study(folder, **{section: keys})
    with pytest.raises(StudyError, match=r"Refused|expected") as error:
        load_study(study)
    (problem,) = error.value.problems
    assert expected in problem.where


def test_code_next_to_the_study_is_not_run(folder, monkeypatch):
    """A package that lies on the path but was never installed is refused, and not imported."""
    (folder / "stray").mkdir()
    (folder / "stray" / "stray_model.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(folder / "stray")
    with pytest.raises(InputError, match="no installed package holds"):
        import_model_function("stray_model:load")


def test_installed_name_elsewhere_is_refused(folder, monkeypatch):
    """A folder with the name of an installed package does not pass for it."""
    (folder / "stray" / "peculiar").mkdir(parents=True)
    (folder / "stray" / "peculiar" / "__init__.py").write_text("raise SystemExit('it was run')")
    record = folder / "site" / "peculiar-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: peculiar\nVersion: 1.0\n")
    (record / "top_level.txt").write_text("peculiar\n")
    monkeypatch.syspath_prepend(folder / "stray")
    with pytest.raises(InputError, match="no installed package holds"):
        import_model_function("peculiar:load")


def test_identity(folder):
    """Other weights or other code of the package make another model."""
    study, *_ = own_package.make_study(folder)
    before = compute_model_digests(load_study(study))
    assert compute_model_digests(load_study(study)) == before
    path = folder / "source" / own_package.NAME / "__init__.py"
    path.write_text(path.read_text() + "\n# another version\n")
    after = compute_model_digests(load_study(study))
    assert after != before
    weights = load_file(folder / "weights" / "weights.safetensors")
    weights["head.bias"] += 1
    from safetensors.torch import save_file

    save_file(weights, folder / "weights" / "weights.safetensors")
    assert compute_model_digests(load_study(study)) not in (before, after)


@pytest.mark.long
def test_search_for_wrong_labels(folder):
    """The same study serves the search for wrong labels, from its features."""
    study, *_ = own_package.make_study(folder)
    assert detect_mislabels.fn(str(study)) is not None


@pytest.mark.long
def test_from_init_to_report(folder, monkeypatch):
    """`fastif init` writes a study of the module that audit, report and the search can use."""
    own_package.make_study(folder)
    (folder / "study.toml").unlink()
    monkeypatch.chdir(folder)
    function = f"{own_package.NAME}:load"
    arguments = ("weights", "train.parquet", "queries.parquet", "--factory", function, "--yes")
    code, out, message = command_line.run("init", *arguments, "--no-forecast")
    assert code == 0, (out, message)
    study = load_study(folder / "study.toml")
    assert study.labels == tuple(own_package.LABELS)  # by predictions, not by the alphabet
    assert "the predictions" in out
    assert study.train.features == ("age", "income", "job")
    assert study.model.factory == function
    code, out, message = command_line.run("doctor", "study.toml")
    assert code == 0, (out, message)
    assert "features used as they are" in out
    assert "not seen these labels" not in out
    store, run = tiny.run_directly(folder / "study.toml")
    (thumb,) = (w for w in read_summary(store, run, study.path).warnings if "rule of thumb" in w)
    assert "[training]" not in thumb
    code, out, message = command_line.run("report", "study.toml")
    assert code == 0, (out, message)


def test_a_given_order_is_kept_with_a_warning(folder, monkeypatch):
    """An order that contradicts the predictions is the user's, and said to be doubtful."""
    own_package.make_study(folder)
    (folder / "study.toml").unlink()
    monkeypatch.chdir(folder)
    function = f"{own_package.NAME}:load"
    arguments = ("weights", "train.parquet", "queries.parquet", "--factory", function, "--yes")
    order = [part for label in own_package.LABELS[::-1] for part in ("--labels-order", label)]
    code, out, message = command_line.run("init", *arguments, *order, "--no-forecast")
    assert code == 0, (out, message)
    assert load_study(folder / "study.toml").labels == tuple(own_package.LABELS[::-1])
    assert "the order seems to differ" in out


def test_init_without_a_folder(folder, monkeypatch):
    """The folder that the function gets has to be named."""
    own_package.make_study(folder)
    (folder / "study.toml").unlink()
    monkeypatch.chdir(folder)
    arguments = ("train.parquet", "queries.parquet", "--factory", f"{own_package.NAME}:load")
    assert "the folder of the weights" in command_line.run_refused(folder, "init", *arguments)


def test_a_search_of_texts_needs_an_encoder(world, monkeypatch):
    """A module of one's own embeds no texts: the search is refused by name, the audit is not."""
    own_package.install(world, monkeypatch)
    model = {"path": "model", "factory": f"{own_package.NAME}:load", "max_length": None}
    study = tiny.write_study(world, model=model, parameters={"attributed": None})
    message = command_line.run_refused(world, "mislabels", study)
    assert "[model] factory makes none" in message
