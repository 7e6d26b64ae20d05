"""A study file is read completely, or refused."""

from pathlib import Path

import pytest

from fastif.solvers import ConjugateGradient, Direct, Dual, Lissa
from fastif.solvers.build import build_solver
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import KnnSection
from tasks.study.study import Study, load_study
from tests.tasks.study.study_files import VALID, refusal, write_changed, write_file

NLI = Path(__file__).parents[3] / "examples" / "nli" / "study.toml"


def test_values_and_defaults(tmp_path):
    study = load_study(write_file(tmp_path, VALID))
    assert (study.name, study.labels) == ("mood", ("neg", "pos"))
    assert study.train.text == ("text",)
    assert study.train.groups == ()
    assert study.parameters.attributed == "last:2"
    assert study.curvature.kind == "gauss-newton"
    assert study.curvature.rows == "auto"
    assert build_solver(study.solver) == ConjugateGradient()
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
    assert build_solver(study.solver) == solver
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


def test_a_study_cannot_be_changed(tmp_path):
    study = load_study(write_file(tmp_path, VALID))
    with pytest.raises(ValueError, match="frozen"):
        study.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_byte_order_mark_is_no_syntax_error(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert load_study(path).name == "mood"


def test_syntax_error_names_the_line(tmp_path):
    error = refusal(write_changed(tmp_path, ("damping = 0.1", "damping = ")))
    assert f"line {VALID.splitlines().index('damping = 0.1') + 1}" in error.problems[0].where
    assert error.problems[0].expected == "valid TOML"


def test_missing_file_suggests_the_one_beside_it(tmp_path):
    write_file(tmp_path, VALID)
    error = refusal(tmp_path / "stduy.toml")
    assert "no such file" in error.problems[0].got
    assert 'did you mean "study.toml"?' in error.problems[0].remedy
    assert "a folder" in str(refusal(tmp_path))
    assert "no such file" in str(refusal(tmp_path / "none" / "study.toml"))


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(VALID.replace("mood", "m\u00f6od").encode("latin-1"))
    assert "UTF-8" in str(refusal(path))


def test_the_example_study_has_the_documented_settings():
    study = load_study(NLI)
    assert study.labels == ("entailment", "non-entailment")
    assert study.candidates == FullScanSection(keep=100)
    assert build_solver(study.solver) == Dual()
    assert study.training is not None
    assert study.training.base.startswith("package:")
