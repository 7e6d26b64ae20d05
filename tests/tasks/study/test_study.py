"""A study file is read whole, or refused with every mistake named."""

import copy
import dataclasses
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from fastif.errors import InputError
from fastif.losses import CrossEntropy
from fastif.solvers import ConjugateGradient, Direct, Dual, Lissa
from tasks.study.candidates import FullScanSection, UnionSection
from tasks.study.errors import Problem
from tasks.study.index_sections import KnnSection, SketchSection
from tasks.study.loss import TrainingLoss
from tasks.study.sections import (
    Curvature,
    ModelSource,
    Notify,
    Parameters,
    Run,
    Section,
    TableSource,
    Training,
)
from tasks.study.study import (
    Study,
    StudyError,
    init_study,
    load_study,
)
from tasks.study.validation_errors import list_problems

NLI = Path(__file__).parents[3] / "examples" / "nli" / "study.toml"

VALID = """
name = "mood"
labels = ["neg", "pos"]
[model]
path = "out/model"
[train]
table = "train.csv"
text = "text"
label = "label"
[queries]
table = "queries.csv"
text = "text"
label = "label"
[parameters]
attributed = "last:2"
[curvature]
damping = 0.1
[solver]
kind = "cg"
[candidates]
kind = "knn"
k = 5
[run]
shard_size = 8
[store]
path = "out/store"
"""


def write_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_changed(folder: Path, *changes: tuple[str, str]) -> Path:
    text = VALID
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return write_file(folder, text)


def refusal(path: Path) -> StudyError:
    """The error, after checking that reading has left nothing behind."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert sorted(path.parent.rglob("*")) == before
    message = str(caught.value)
    assert str(path) in message
    assert "pydantic" not in message
    assert "validation error" not in message
    return caught.value


def test_values_and_defaults(tmp_path):
    study = load_study(write_file(tmp_path, VALID))
    assert (study.name, study.labels) == ("mood", ("neg", "pos"))
    assert study.train.text == ("text",)
    assert study.train.groups == ()
    assert study.parameters.attributed == "last:2"
    assert study.curvature.kind == "gauss-newton"
    assert study.curvature.rows is None
    assert study.solver == ConjugateGradient()
    assert study.candidates == KnnSection(k=5)
    assert (study.run.shard_size, study.run.batch_size) == (8, 32)
    assert study.training is None
    assert study.models == ()
    assert study.certificate.rows == 512


def test_paths_resolve_from_the_folder_of_the_file(tmp_path):
    study = load_study(write_file(tmp_path, VALID))
    assert study.folder == tmp_path
    assert study.resolve(study.store.path) == tmp_path / "out" / "store"
    assert study.resolve("/abs") == Path("/abs")
    assert "folder" not in study.model_dump()
    assert "path" not in study.model_dump()


@pytest.mark.parametrize(
    ("lines", "solver"),
    [
        ('kind = "dual"\nblock_rows = 7', Dual(block_rows=7)),
        (
            'kind = "cg"\ntolerance = 1\nmax_steps = 9',
            ConjugateGradient(tolerance=1.0, max_steps=9),
        ),
        ('kind = "lissa"\ndepth = 5\nseed = 0', Lissa(depth=5)),
        ('kind = "lissa"\ndepth = "auto"\nscale = 7', Lissa(scale=7.0)),
        ('kind = "lissa"\npreset = "fastif"', Lissa(preset="fastif")),
        ('kind = "direct"', Direct()),
    ],
)
def test_each_solver_with_its_own_keys(tmp_path, lines, solver):
    study = load_study(write_changed(tmp_path, ('kind = "cg"', lines)))
    assert study.solver == solver
    again = Study.model_validate_json(study.model_dump_json(), strict=True)
    assert again.model_dump() == study.model_dump()


def test_full_scan_patterns_and_pairs(tmp_path):
    study = load_study(
        write_changed(
            tmp_path,
            ('kind = "knn"\nk = 5', 'kind = "full"'),
            ('"last:2"', "['layer\\.5\\.', '^classifier']"),
            ('text = "text"', 'text = ["a", "b"]'),
            ('text = "text"', 'text = ["a", "b"]'),
        )
    )
    assert study.candidates == FullScanSection(keep=100)
    assert study.parameters.attributed == (r"layer\.5\.", "^classifier")
    assert study.queries.text == ("a", "b")


def insert_loss(*lines: str) -> tuple[str, str]:
    return "[curvature]", "\n".join(["[loss]", *lines, "[curvature]"])


def test_the_loss_is_plain_unless_the_file_says_more(tmp_path):
    plain = load_study(write_file(tmp_path, VALID))
    assert plain.loss == TrainingLoss()
    assert plain.loss.build([0, 1], 2) == CrossEntropy()
    assert (plain.penalty, plain.fixed_damping, plain.loss_settings) == (0.0, 0.1, {})
    text = insert_loss("label_smoothing = 0", 'class_weights = "balanced"')
    assert load_study(write_changed(tmp_path, text)).loss.build([0, 0, 0, 1], 2).class_weights == (
        pytest.approx((2 / 3, 2.0))
    )
    by_name = insert_loss("label_smoothing = 0.1", "class_weights = {pos = 2.5, neg = 1}")
    named = load_study(write_changed(tmp_path, by_name))
    assert named.loss_settings == {"loss": {"label_smoothing": 0.1, "class_weights": [1.0, 2.5]}}
    text = insert_loss("label_smoothing = 0.1", "class_weights = [1, 2.5]")
    study = load_study(write_changed(tmp_path, text))
    assert study.loss.build([0, 1], 2) == CrossEntropy(0.1, (1.0, 2.5))
    assert study.loss_settings == {"loss": {"label_smoothing": 0.1, "class_weights": [1.0, 2.5]}}
    again = Study.model_validate_json(study.model_dump_json(), strict=True)
    assert again.model_dump() == study.model_dump()


def test_only_coupled_weight_decay_is_damping_and_decides_answers(tmp_path):
    apart = load_study(write_changed(tmp_path, insert_loss("weight_decay = 0.3")))
    assert (apart.weight_decay, apart.penalty, apart.fixed_damping) == (0.3, 0.0, 0.1)
    assert apart.loss_settings == {}
    coupled = 'weight_decay_kind = "coupled"'
    inside = load_study(write_changed(tmp_path, insert_loss("weight_decay = 0.3", coupled)))
    assert (inside.weight_decay, inside.penalty, inside.fixed_damping) == (0.3, 0.3, 0.4)
    assert inside.loss_settings == {"penalty": 0.3}
    undamped = write_changed(tmp_path, insert_loss("weight_decay = 0.3", coupled), ("= 0.1", "= 0"))
    assert load_study(undamped).fixed_damping == 0.3, "the penalty is damping enough"


@pytest.mark.parametrize(
    ("loss", "training", "decay"),
    [
        ("", "", 0.01),
        ("", "weight_decay = 0.2", 0.2),
        ("weight_decay = 0.3", "", 0.3),
        ("weight_decay = 0", "", 0.0),
        ("weight_decay = 0.2", "weight_decay = 0.2", 0.2),
        ('weight_decay_kind = "coupled"', "weight_decay = 0.2", 0.2),
    ],
)
def test_the_weight_decay_of_training_is_said_once(tmp_path, loss, training, decay):
    trained = "[store]", f'[training]\nbase = "b"\n{training}\n[store]'
    study = load_study(write_changed(tmp_path, insert_loss(loss), trained))
    assert study.weight_decay == decay
    assert study.penalty == (decay if "coupled" in loss else 0.0)


def test_several_models_and_the_rows_of_the_certificate(tmp_path):
    study = load_study(
        write_changed(
            tmp_path,
            ("[model]", 'models = ["out/seed-1", "../other"]\n[model]'),
            ("[run]", "[certificate]\nrows = 0\n[run]"),
        )
    )
    assert study.models == ("out/seed-1", "../other")
    assert study.certificate.rows == 0


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("[model]", 'models = ["a", "a"]\n[model]', "models", "each entry once"),
        ("[model]", 'models = "a"\n[model]', "models", "a list"),
        ("[model]", 'models = [""]\n[model]', "models[1]", "not empty"),
        ("[model]", 'models = ["a", "out/model"]\n[model]', "models", "always one of them"),
        ("[run]", "[certificate]\nrows = -1\n[run]", "[certificate] rows", ">= 0"),
        ("[run]", "[certificate]\nrow = 1\n[run]", "[certificate] row", "rows"),
    ],
)
def test_wrong_models_and_certificates(tmp_path, old, new, where, message):
    (problem,) = refusal(write_changed(tmp_path, (old, new))).problems
    assert problem.where == where
    assert message in f"{problem.expected} {problem.remedy}"


def test_a_study_cannot_be_changed(tmp_path):
    study = load_study(write_file(tmp_path, VALID))
    with pytest.raises(ValueError, match="frozen"):
        study.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_byte_order_mark_is_no_syntax_error(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert load_study(path).name == "mood"


# change -> (key, expected, got, change) as parts of the problem
BAD_VALUES = {
    "name": ('"mood"', '"My mood"', "name", "small letters", '"My mood"', "small letters"),
    "name type": ('"mood"', "3", "name", "text in quotes", "3", 'in quotes: "3"'),
    "no labels": ('["neg", "pos"]', "[]", "labels", "2 or more", "[]", "add"),
    "one label": ('["neg", "pos"]', '["neg"]', "labels", "2 or more", '["neg"]', "add"),
    "same labels": ('["neg", "pos"]', '["a", "a"]', "labels", "each entry once", '"a"', "remove"),
    "empty label": ('["neg", "pos"]', '["a", ""]', "labels[2]", "not empty", '""', "write"),
    "labels type": ('["neg", "pos"]', '"neg"', "labels", "a list", '"neg"', "list"),
    "numbers as labels": ('["neg", "pos"]', '["0", 1]', "labels[2]", "text", "1", '"1"'),
    "max_length": (
        '"out/model"',
        '"m"\nmax_length = 1',
        "[model] max_length",
        ">= 2",
        "1",
        "range",
    ),
    "three texts": ('= "text"', '= ["a", "b", "c"]', "[train] text", "two", '"c"', "premise"),
    "same text twice": ('= "text"', '= ["a", "a"]', "[train] text", "different", '"a"', "premise"),
    "no text": ('= "text"', "= []", "[train] text", "a column name", "[]", "premise"),
    "last 0": ('"last:2"', '"last:0"', "[parameters] attributed", "last:K", "last:0", "last:1"),
    "last x": ('"last:2"', '"lsat:1"', "[parameters] attributed", "last:K", "lsat:1", "last:1"),
    "no patterns": ('"last:2"', "[]", "[parameters] attributed", "regular", "[]", "last:1"),
    "pattern": (
        '"last:2"',
        '["a("]',
        "[parameters] attributed",
        "valid regular",
        '"a("',
        "correct",
    ),
    "curvature": (
        "damping = 0.1",
        'damping = 1\nkind = "hesian"',
        "[curvature] kind",
        "gauss-newton, hessian",
        '"hesian"',
        'did you mean "hessian"?',
    ),
    "rows": ("damping = 0.1", "damping = 1\nrows = 0", "[curvature] rows", ">= 1", "0", "range"),
    "seed": ("damping = 0.1", "damping = 1\nseed = -1", "[curvature] seed", ">= 0", "-1", "range"),
    "negative damping": ("0.1", "-0.1", "[curvature] damping", ">= 0", "-0.1", "without quotes"),
    "NaN damping": ("0.1", "nan", "[curvature] damping", "finite", "NaN", "without quotes"),
    "damping type": ("0.1", '"0.1"', "[curvature] damping", "number", '"0.1"', "without quotes"),
    "smoothing": (
        "[curvature]",
        "[loss]\nlabel_smoothing = 1\n[curvature]",
        "[loss] label_smoothing",
        "< 1",
        "1",
        "range",
    ),
    "smoothing below": (
        "[curvature]",
        "[loss]\nlabel_smoothing = -0.1\n[curvature]",
        "[loss] label_smoothing",
        ">= 0",
        "-0.1",
        "range",
    ),
    "smoothing type": (
        "[curvature]",
        '[loss]\nlabel_smoothing = "0.1"\n[curvature]',
        "[loss] label_smoothing",
        "a number",
        '"0.1"',
        "without quotes",
    ),
    "weights": (
        "[curvature]",
        '[loss]\nclass_weights = "ballanced"\n[curvature]',
        "[loss] class_weights",
        "one number of 0 or more a label",
        '"ballanced"',
        "in the order of labels",
    ),
    "negative weight": (
        "[curvature]",
        "[loss]\nclass_weights = [1, -1]\n[curvature]",
        "[loss] class_weights",
        "of 0 or more",
        "-1",
        "1.0, 3.0",
    ),
    "NaN weight": (
        "[curvature]",
        "[loss]\nclass_weights = [1, nan]\n[curvature]",
        "[loss] class_weights",
        "of 0 or more",
        "NaN",
        "1.0, 3.0",
    ),
    "zero weights": (
        "[curvature]",
        "[loss]\nclass_weights = [0, 0.0]\n[curvature]",
        "[loss] class_weights",
        "not all 0",
        "0",
        "1.0, 3.0",
    ),
    "weights as texts": (
        "[curvature]",
        '[loss]\nclass_weights = ["1", "2"]\n[curvature]',
        "[loss] class_weights",
        "number",
        '"1"',
        "1.0, 3.0",
    ),
    "a label without a weight": (
        "[curvature]",
        "[loss]\nclass_weights = {pos = 2.0}\n[curvature]",
        "[loss] class_weights",
        "one number for each of labels",
        'no weight for "neg"',
        'add "neg"',
    ),
    "a weight of no label": (
        "[curvature]",
        "[loss]\nclass_weights = {neg = 1.0, pos = 2.0, poss = 3.0}\n[curvature]",
        "[loss] class_weights",
        "one number for each of labels",
        'a weight for "poss"',
        'did you mean "pos"',
    ),
    "a weight by name that is no number": (
        "[curvature]",
        '[loss]\nclass_weights = {neg = 1.0, pos = "2"}\n[curvature]',
        "[loss] class_weights",
        "number",
        '"2"',
        "1.0, 3.0",
    ),
    "one weight too many": (
        "[curvature]",
        "[loss]\nclass_weights = [1, 2, 3]\n[curvature]",
        "[loss] class_weights",
        "2 numbers",
        "3",
        "one number a label",
    ),
    "decay": (
        "[curvature]",
        "[loss]\nweight_decay = -1\n[curvature]",
        "[loss] weight_decay",
        ">= 0",
        "-1",
        "range",
    ),
    "kind of decay": (
        "[curvature]",
        '[loss]\nweight_decay_kind = "L2"\n[curvature]',
        "[loss] weight_decay_kind",
        "one of decoupled, coupled",
        '"L2"',
        '"decoupled"',
    ),
    "coupled with what": (
        "[curvature]",
        '[loss]\nweight_decay_kind = "coupled"\n[curvature]',
        "[loss] weight_decay",
        "since it is coupled",
        "nothing",
        "add weight_decay",
    ),
    "two decays": (
        "[store]",
        '[loss]\nweight_decay = 0.1\n[training]\nbase = "b"\nweight_decay = 0.2\n[store]',
        "[training] weight_decay",
        "0.1, as [loss] says",
        "0.2",
        "one of the two",
    ),
    "k": ("k = 5", "k = 0", "[candidates] k", ">= 1", "0", "range"),
    "k type": ("k = 5", "k = 2.5", "[candidates] k", "whole number", "2.5", "whole"),
    "k yes": ("k = 5", "k = true", "[candidates] k", "whole number", "true", "whole"),
    "candidates": (
        '"knn"',
        '"kmn"',
        "[candidates] kind",
        "one of knn, sketch, union, full",
        '"kmn"',
        'did you mean "knn"?',
    ),
    "keep": ('"knn"\nk = 5', '"full"\nkeep = 0', "[candidates] keep", ">= 1", "0", "range"),
    "key of another kind": (
        '"knn"',
        '"full"',
        "[candidates] k",
        "one of keep, kind",
        "unknown key k",
        "choose the kind",
    ),
    "shard": ("shard_size = 8", "shard_size = 0", "[run] shard_size", ">= 1", "0", "range"),
    "batch": ("shard_size = 8", "batch_size = 0", "[run] batch_size", ">= 1", "0", "range"),
    "cache": (
        "shard_size = 8",
        "prefix_cache_mb = -1",
        "[run] prefix_cache_mb",
        ">= 0",
        "-1",
        "range",
    ),
    "unknown solver": (
        '"cg"',
        '"lisa"',
        "[solver] kind",
        "one of dual, cg, spectral, lissa, direct",
        '"lisa"',
        'did you mean "lissa"?',
    ),
    "no solver kind": (
        'kind = "cg"',
        "",
        "[solver] kind",
        "one of dual, cg, spectral, lissa, direct",
        "nothing",
        '"dual"',
    ),
    "solver key": (
        '"cg"',
        '"cg"\ntolerence = 1',
        "[solver] tolerence",
        "kind, max_steps, preconditioner, rank, tolerance",
        "unknown key tolerence",
        'did you mean "tolerance"?',
    ),
    "solver type": ('"cg"', '"lissa"\ndepth = "9"', "[solver] depth", "whole", '"9"', "without"),
    "solver range": ('"cg"', '"lissa"\ndepth = 0', "[solver] depth", "> 0", "0", "auto"),
    "solver word": ('"cg"', '"lissa"\nscale = "big"', "[solver] scale", 'or "auto"', '"big"', ""),
    "solver NaN": ('"cg"', '"lissa"\nscale = nan', "[solver] scale", "number", "nan", ""),
    "solver seed": ('"cg"', '"lissa"\nseed = -1', "[solver] seed", "0 or more", "-1", "0"),
    "zero damping cg": ("0.1", "0", "[curvature] damping", '> 0 for the solver "cg"', "0", "0.1"),
    "dual of hessian": (
        'damping = 0.1\n[solver]\nkind = "cg"',
        'damping = 1\nkind = "hessian"\n[solver]\nkind = "dual"',
        "[curvature] kind",
        'gauss-newton" for the solver "dual"',
        '"hessian"',
        "cg, lissa or direct",
    ),
    "pair against single": (
        '= "text"',
        '= ["a", "b"]',
        "[queries] text",
        "as many columns",
        '["text"]',
        "both a pair",
    ),
    "table and dataset": (
        'table = "train.csv"',
        'table = "train.csv"\ndataset = "sst2"',
        "[train]",
        "exactly one of the keys table, dataset",
        "both",
        "remove one",
    ),
    "no source": (
        'table = "queries.csv"',
        "",
        "[queries]",
        "exactly one of",
        "neither",
        'table = "your-file',
    ),
    "split of a file": (
        'table = "train.csv"',
        'table = "train.csv"\nsplit = "x"',
        "[train] split",
        "no such key",
        '"x"',
        "dataset",
    ),
    "unknown key": (
        "damping = 0.1",
        "damping = 1\ndampign = 2",
        "[curvature] dampign",
        "damping, kind, leverage, rows, seed",
        "unknown key dampign",
        'did you mean "damping"?',
    ),
    "unknown section": ("[run]", "[rum]", "rum", "run", "unknown key rum", 'did you mean "run"?'),
    "key without its section": (
        'name = "mood"',
        'name = "mood"\nshard_size = 3',
        "shard_size",
        "one of",
        "unknown key",
        "move it under [run]",
    ),
    "folder is no key": (
        'name = "mood"',
        'name = "mood"\nfolder = "/"',
        "folder",
        "one of",
        "folder",
        "",
    ),
    "no damping, no recipe": (
        "damping = 0.1",
        "",
        "[curvature] damping",
        "no [training] section",
        '"auto"',
        "set damping = 0.1",
    ),
    "missing key": ("k = 5", "", "[candidates] k", "candidates a query", "nothing", "add k"),
    "missing name": (
        'name = "mood"',
        "",
        "name",
        "short name",
        "nothing",
        "add name = ... at the top",
    ),
    "missing section": (
        '[store]\npath = "out/store"',
        "",
        "[store]",
        "section",
        "nothing",
        "add [store]",
    ),
    "section as list": ("[store]", "[[store]]", "[store]", "section", "out/store", "section"),
    "section as number": (
        '[store]\npath = "out/store"',
        "[training]\nbase = 3\nlearning_rate = 0",
        "[training] learning_rate",
        "> 0",
        "0",
        "range",
    ),
}


@pytest.mark.parametrize("case", BAD_VALUES.values(), ids=list(BAD_VALUES))
def test_a_bad_value_is_named_with_a_remedy(tmp_path, case):
    old, new, key, expected, got, change = case
    error = refusal(write_changed(tmp_path, (old, new)))
    problem = next(p for p in error.problems if p.where == key)
    assert expected in problem.expected
    assert got in problem.got
    assert change in problem.remedy
    assert problem.remedy
    for part in (key, problem.expected, problem.got, problem.remedy):
        assert part in str(error)


@pytest.mark.parametrize("kind", ["dual", "cg", "lissa"])
def test_only_direct_takes_no_damping(tmp_path, kind):
    changes = ("0.1", "0.0"), ('"cg"', f'"{kind}"')
    assert "[curvature] damping" in str(refusal(write_changed(tmp_path, *changes)))
    assert (
        load_study(write_changed(tmp_path, ("0.1", "0"), ('"cg"', '"direct"'))).curvature.damping
        == 0
    )


def test_sketches_take_no_damping_of_zero(tmp_path):
    none, sketch = ("0.1", "0.0"), ('"knn"', '"sketch"')
    direct = ('"cg"', '"direct"')
    coupled = insert_loss('weight_decay_kind = "coupled"', "weight_decay = 0.1")
    (problem,) = refusal(write_changed(tmp_path, none, sketch, direct)).problems
    assert (problem.where, problem.got) == ("[curvature] damping", "0.0")
    assert '"sketch"' in problem.expected
    assert load_study(write_changed(tmp_path, none, direct)).candidates.kind == "knn"
    assert load_study(write_changed(tmp_path, none, sketch, direct, coupled)).fixed_damping == 0.1


def test_scores_by_sketches_alone_count_no_leverage(tmp_path):
    sketch = ('"knn"', '"sketch"\nrescore = false')
    demanded = ("0.1", '0.1\nleverage = "on"')
    (problem,) = refusal(write_changed(tmp_path, sketch, demanded)).problems
    assert (problem.where, problem.got) == ("[curvature] leverage", '"on"')
    assert "rescore" in problem.remedy
    assert load_study(write_changed(tmp_path, demanded)).curvature.leverage == "on"
    assert load_study(write_changed(tmp_path, sketch, ("0.1", '0.1\nleverage = "auto"'))).loss


def test_all_problems_come_at_once(tmp_path):
    error = refusal(write_changed(tmp_path, ("k = 5", "k = 0"), ('"cg"', '"cgg"'), ("0.1", '"x"')))
    assert [p.where for p in error.problems] == [
        "[curvature] damping", "[solver] kind", "[candidates] k",
    ]  # fmt: skip
    assert "3 problems" in str(error)


def test_the_error_survives_a_process_border(tmp_path):
    error = refusal(write_changed(tmp_path, ("k = 5", "k = 0")))
    again = copy.copy(error)  # rebuilt from its arguments, as on the way between processes
    assert str(again) == str(error)
    assert again.problems == error.problems


def test_syntax_error_names_the_line(tmp_path):
    error = refusal(write_changed(tmp_path, ("damping = 0.1", "damping = ")))
    assert f"line {VALID.splitlines().index('damping = 0.1') + 1}" in error.problems[0].where
    assert error.problems[0].expected == "valid TOML"


def test_missing_file_suggests_the_one_beside_it(tmp_path):
    write_file(tmp_path, VALID)
    error = refusal(tmp_path / "stduy.toml")
    assert "nothing there" in error.problems[0].got
    assert 'did you mean "study.toml"?' in error.problems[0].remedy
    assert "a folder" in str(refusal(tmp_path))
    assert "nothing there" in str(refusal(tmp_path / "none" / "study.toml"))


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(VALID.replace("mood", "m\u00f6od").encode("latin-1"))
    assert "UTF-8" in str(refusal(path))


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
    """Each key of each section stands in the template, switched on or off."""
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
    for section in (*sections, UnionSection, FullScanSection, Notify, Training):
        for key in section.model_fields:
            assert f"{key} = " in text, f"{section.__name__} {key}"
    for solver in (ConjugateGradient, Lissa):
        for field in dataclasses.fields(solver):
            assert f"{field.name} = " in text, f"{solver.__name__} {field.name}"


def test_a_record_that_refuses_its_own_values():
    """A solver may check itself; its four-part error becomes a problem at its section."""

    @dataclasses.dataclass(frozen=True)
    class Careful:
        steps: int
        kind: Literal["careful"] = "careful"

        def __post_init__(self):
            if self.steps == 1:
                raise InputError("steps", "an even number", "1", "Take 2.")
            if self.steps == 3:
                raise ValueError("steps must be even")

    class Root(Section):
        solver: Careful

    def problem(steps: int) -> Problem:
        with pytest.raises(ValidationError) as caught:
            Root.model_validate({"solver": {"steps": steps}})
        (only_problem,) = list_problems(caught.value, Root)
        return only_problem

    assert problem(1) == Problem("[solver] (steps)", "an even number", "1", "Take 2.")
    assert (problem(3).where, problem(3).expected) == ("[solver]", "steps must be even")


def test_init_never_overwrites(tmp_path):
    path = write_file(tmp_path, "# mine")
    for target in (path, tmp_path):
        with pytest.raises(StudyError, match="exists") as caught:
            init_study(target)
        assert str(path) in str(caught.value)
    assert path.read_text() == "# mine"
    with pytest.raises(StudyError, match="folder that exists"):
        init_study(tmp_path / "none" / "study.toml")


def test_the_example_is_the_study_it_says():
    study = load_study(NLI)
    assert study.labels == ("entailment", "non-entailment")
    assert study.candidates == SketchSection(k=200, dimensions=512)
    assert study.solver == Dual()
    assert study.training is not None
    assert study.training.base.startswith("package:")


SKETCH_AND_KNN = """of = [
  { kind = "sketch", k = 6, dimensions = 9 },
  { kind = "knn", k = 4, quota = 0.25 },
]"""
UNION = 'kind = "knn"\nk = 5', f'kind = "union"\n{SKETCH_AND_KNN}'


def test_a_union_and_its_quotas(tmp_path):
    study = load_study(write_changed(tmp_path, UNION))
    methods = (SketchSection(k=6, dimensions=9), KnnSection(k=4, quota=0.25))
    assert study.candidates == UnionSection(of=methods)
    assert study.candidates.methods == methods
    again = Study.model_validate_json(study.model_dump_json(), strict=True)
    assert again.model_dump() == study.model_dump()
    alone = load_study(write_changed(tmp_path, ("k = 5", "k = 5\nquota = 0.5")))
    assert alone.candidates.methods == (KnnSection(k=5, quota=0.5),)


BAD_UNIONS = {
    "one": (SKETCH_AND_KNN, 'of = [{ kind = "knn", k = 1 }]', "of", "2 or more", "add"),
    "none": (SKETCH_AND_KNN, "", "of", "two or more", "add of"),
    "kind": ('"sketch"', '"skech"', "of[1] kind", "knn, sketch", 'did you mean "sketch"?'),
    "full": ('"sketch"', '"full"', "of[1] kind", "one of knn, sketch", 'write "sketch"'),
    "key": ("dimensions", "dimension", "of[1] dimension", "width", 'mean "dimensions"?'),
    "key of the other": ('"knn", k', '"knn", width = 3, k', "of[2] width", "factory", "remove"),
    "range": ("k = 4", "k = 0", "of[2] k", ">= 1", "range"),
    "no k": ("k = 6, ", "", "of[1] k", "candidates a query", "add k"),
    "check": ("k = 6", "k = 6, check = 3", "of[1] check", "no such key", "beside of"),
    "target": ("k = 6", "target_recall = 0.9", "of[1] target_recall", "in a union", "its k"),
    "quota": ("0.25", "0.6", "of[2] quota", "at most 1 / 2", "0.5 or less"),
}


@pytest.mark.parametrize("case", BAD_UNIONS.values(), ids=list(BAD_UNIONS))
def test_a_bad_union_is_named_entry_by_entry(tmp_path, case):
    old, new, key, expected, change = case
    (problem,) = refusal(write_changed(tmp_path, UNION, (old, new))).problems
    assert problem.where == f"[candidates] {key}"
    assert expected in problem.expected
    assert change in problem.remedy


@pytest.mark.parametrize(
    ("quota", "expected", "change"),
    [
        ("0.51", "at most 1 / 2", "0.5 or less"),
        ("0.1", "at least 1 / k = 0.2", "raise it"),
        ("0", "> 0", "range"),
        ("1.5", "<= 1", "range"),
        ('"half"', "a number", "write"),
    ],
)
def test_quotas_that_cannot_be_kept_are_refused(tmp_path, quota, expected, change):
    (problem,) = refusal(write_changed(tmp_path, ("k = 5", f"k = 5\nquota = {quota}"))).problems
    assert problem.where == "[candidates] quota"
    assert expected in problem.expected
    assert change in problem.remedy


def test_a_target_stands_in_place_of_k(tmp_path):
    study = load_study(write_changed(tmp_path, ("k = 5", "target_recall = 0.95\nquota = 0.1")))
    assert study.candidates == KnnSection(target_recall=0.95, quota=0.1)


@pytest.mark.parametrize(
    ("keys", "where", "expected", "change"),
    [
        ("k = 5\ntarget_recall = 0.9", "target_recall", "no such key beside k", "or k"),
        ("", "k", "candidates a query", "or target_recall = 0.95"),
        ("target_recall = 0", "target_recall", "> 0", "range"),
        ("target_recall = 95", "target_recall", "<= 1", "range"),
        ('target_recall = "most"', "target_recall", "a number", "without quotes"),
        ("target_recall = 0.9\nquota = 0.6", "quota", "at most 1 / 2", "0.5 or less"),
    ],
)
def test_targets_that_mean_nothing_are_refused(tmp_path, keys, where, expected, change):
    (problem,) = refusal(write_changed(tmp_path, ("k = 5", keys))).problems
    assert problem.where == f"[candidates] {where}"
    assert expected in problem.expected
    assert change in problem.remedy


def test_a_scan_with_queries_of_a_rank(tmp_path):
    full = ("k = 5", "rank = 3"), ('"knn"', '"full"')
    assert load_study(write_changed(tmp_path, *full)).candidates == FullScanSection(rank=3)
    both = ("k = 5", 'rank = 3\nprecision = "bfloat16"'), ('"knn"', '"full"')
    (problem,) = refusal(write_changed(tmp_path, *both)).problems
    assert problem.where == "[candidates] rank"
    assert "bfloat16" in problem.expected
