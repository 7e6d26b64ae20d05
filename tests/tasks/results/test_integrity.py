"""`fastif verify` and reading commands on damaged, incomplete and empty stores."""

import os
import shutil

import pytest
import tiny

from flows.cli import common as console
from tasks.mislabels.detect import detect_mislabels
from tests.tasks.results.damaged_stores import (
    READING,
    cut,
    empty,
    files_of_at_most,
    first_run_name,
    flip,
    foreign,
    half,
    lose,
    run,
    store_of,
)


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    for terminal in (console.out, console.err):
        monkeypatch.setattr(terminal, "_width", 220)


@pytest.fixture(scope="module")
def audited(made, tmp_path_factory):
    """A store with an audit by sketches, a search for wrong labels and annotations."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("integrity") / "made")
    sketch = {"kind": "sketch", "k": 12}
    study = tiny.write_study(folder, candidates=sketch)
    tiny.run_directly(study)
    detect_mislabels.fn(str(study))
    review = folder / "review.csv"
    assert run("review", "export", "--study", study, "--out", review)[0] == 0
    review.write_text("id,right_label,reviewer\ntrain-1,pos,ann\ntrain-2,neg,ann\n")
    assert run("review", "import", review, "--study", study)[0] == 0
    return folder


@pytest.fixture
def world(audited, tmp_path):
    return tiny.copy(audited, tmp_path / "world")


@pytest.mark.long
def test_three_inverted_bytes_in_any_file_are_reported(world):
    """Every file of the store, one after the other."""
    study, root = world / "study.toml", world / "store"
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    kinds = {path.relative_to(root).parts[1] for path in paths if "parts" in path.parts}
    assert {"verdicts", "mislabels", "sketcher", "index"} <= kinds
    assert run("verify", "--study", study)[0] == 0
    for path in paths:
        sound = path.read_bytes()
        flip(path)
        code, text = run("verify", "--study", study)
        assert code == (2 if path.name == "store.json" else 1), path
        assert str(path) in text, path
        path.write_bytes(sound)
    assert run("verify", "--study", study)[0] == 0


def test_a_run_with_half_its_shards_is_damaged_and_not_read(world):
    study, progress = world / "study.toml", half(world)
    code, text = run("verify", "--study", study)
    assert code == 1
    assert f"{progress} shards" in text
    for command in READING:
        code, text = run(*command(world))
        assert code == 2, text
        assert "Refused." in text
        assert progress in text
    assert "damaged" in run("runs", "--study", study)[1]
    assert run("verify", "--study", study, "--repair")[0] == 1
    tiny.run_directly(study)
    assert run("verify", "--study", study)[0] == 0


@pytest.mark.parametrize(
    ("table", "spoil"),
    [
        *((table, flip) for table in ("scores", "queries", "train", "solves")),
        *(("train", spoil) for spoil in (cut, empty, foreign, lose)),
    ],
)
def test_commands_refuse_a_damaged_table_and_name_the_file(world, table, spoil):
    store = store_of(world)
    path = sorted(store.layout.table(table, first_run_name(world)).rglob("*.parquet"))[0]
    spoil(path)
    refused = 0
    for command in READING:
        code, text = run(*command(world))
        assert code in (0, 2), text
        assert "None" not in text
        if code == 2:
            refused += 1
            assert "Refused." in text
            assert path.name in text or "shard" in text
    assert refused >= 3
    code, text = run("verify", "--study", world / "study.toml")
    assert code == 1
    assert path.name in text


def test_texts_are_never_none_where_the_training_table_is_missing(world):
    """Without the table and its manifest, no reader prints placeholder texts."""
    store = store_of(world)
    name = first_run_name(world)
    store.layout.manifest(name, "train").unlink()
    shutil.rmtree(store.layout.table("train", name))
    for command in READING:
        code, text = run(*command(world))
        assert code == 2, text
        assert "table of training rows" in text
    code, text = run("verify", "--study", world / "study.toml")
    assert code == 1
    assert "train.json: missing" in text


def test_annotations_are_never_removed_even_if_their_file_is_damaged(world):
    store = store_of(world)
    (digest,) = store.find_artifacts("verdicts")
    flip(store.layout.artifact("verdicts", digest) / "verdicts.parquet")
    study = world / "study.toml"
    code, text = run("verify", "--study", study, "--repair")
    assert code == 1
    assert "restore these files from a backup" in text
    assert run("gc", "--study", study, "--parts-unused", 0)[0] == 0
    assert store.list_artifact_digests("verdicts") == [digest]


def test_an_unfinished_run_is_reported(world):
    store = store_of(world)
    name = first_run_name(world)
    store.withdraw(name, [store.read_record(name).list_shards()[-1].key])
    code, text = run("verify", "--study", world / "study.toml")
    assert code == 3
    assert "not finished" in text
    assert f"{name}: intact" not in text
    for command in READING:
        code, text = run(*command(world))
        assert code in (0, 2)
        assert "not finished" in text or "expected a finished run" in text or "Refused" in text


def test_an_empty_and_a_missing_store_yield_messages(world):
    shutil.rmtree(world / "store" / "runs")
    for command in (*READING[:3], *READING[4:]):
        code, text = run(*command(world))
        assert code == 2, text
        assert "Start one with `fastif audit`" in text
    shutil.rmtree(world / "store")
    for command in (*READING[:3], *READING[4:]):
        code, text = run(*command(world))
        assert code == 2, text
        assert "Refused." in text
    for words in (("verify",), ("gc",), ("runs",), ("diff", "a", "b")):
        code, text = run(*words, "--study", world / "study.toml")
        assert code == 2
        assert "Run `fastif audit` or `fastif mislabels` first" in text


def test_a_damaged_search_is_not_reported_as_no_search(world):
    store = store_of(world)
    (digest,) = store.find_artifacts("mislabels")
    flip(store.layout.artifact("mislabels", digest) / "facts.json")
    study, page = world / "study.toml", world / "page.html"
    code, text = run("report", "--study", study, "--out", page)
    assert code == 2, text
    assert "facts.json" in text
    assert not page.exists()
    assert run("verify", "--study", study, "--repair")[0] == 1
    assert run("report", "--study", study, "--out", page)[0] == 0


@pytest.mark.long
def test_a_damaged_sketcher_is_fitted_again_and_the_same(world):
    store = store_of(world)
    before = tiny.scores_by_id(store, first_run_name(world))
    (digest,) = store.find_artifacts("sketcher")
    flip(store.layout.artifact("sketcher", digest) / "sketcher.safetensors")
    store.withdraw(
        first_run_name(world),
        [shard.key for shard in store.read_record(first_run_name(world)).list_shards()],
    )
    for _ in range(2):
        store, name = tiny.run_directly(world / "study.toml")
        assert tiny.scores_by_id(store, name).equals(before)
    assert not store.find_damaged_artifacts()


@pytest.mark.long
def test_a_run_without_its_sequence_number_is_reported(world):
    study = world / "study.toml"
    store, later = tiny.run_directly(study, "later")
    assert store.find_latest().record.run == later
    store.layout.order(later).unlink()
    assert store.find_latest().record.run != later
    code, text = run("verify", "--study", study)
    assert code == 1
    assert str(store.layout.order(later)) in text
    store.make_current(later)
    assert store.find_latest().record.run == later
    assert run("verify", "--study", study)[0] == 0


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((("review", "export"), f"decisions.{kind}") for kind in ("csv", "parquet", "json")),
        (("export", "mislabels"), "mislabels.json"),
        (("init",), "new.toml"),
    ],
)
def test_a_file_that_cannot_be_written_completely_is_removed(world, command, name):
    study = () if command == ("init",) else ("--study", world / "study.toml")
    to = () if command == ("init",) else ("--out",)
    with files_of_at_most(100):
        code, text = run(*command, *study, *to, world / name)
    assert code == 2, text
    assert name in text
    assert not (world / name).exists()
    assert run(*command, *study, *to, world / name)[0] == 0


@pytest.mark.parametrize("place", ["parts/verdicts", "parts/mislabels", "runs"])
def test_an_unreadable_folder_is_not_treated_as_empty(world, monkeypatch, place):
    """Tests may run as root, which can read everything, so the system's error is simulated."""
    closed, real, listed = world / "store" / place, os.scandir, os.listdir

    def answer(question):
        def refuse(path="."):
            if os.fspath(path) == str(closed):
                raise PermissionError(13, "Permission denied", str(path))
            return question(path)

        return refuse

    monkeypatch.setattr(os, "scandir", answer(real))
    monkeypatch.setattr(os, "listdir", answer(listed))
    study = world / "study.toml"
    commands = {
        "parts/verdicts": [("review", "conflicts", "--study", study)],
        "parts/mislabels": [("report", "--study", study, "--out", world / "page.html")],
        "runs": [("runs", "--study", study)],
    }
    for command in (("verify", "--study", study), *commands[place]):
        code, text = run(*command)
        assert code == 2, text
        assert str(closed) in text
        assert "permission denied" in text


def test_a_copied_manifest_does_not_count_a_shard_twice(world):
    """Like the copies that file synchronisation leaves."""
    store, study = store_of(world), world / "study.toml"
    rows = store.scan("scores", first_run_name(world)).collect()
    manifest = store.layout.manifest(
        first_run_name(world), store.read_record(first_run_name(world)).list_shards()[1].key
    )
    copy = manifest.with_name("copy.json")
    shutil.copy(manifest, copy)
    for command in READING[:3]:
        code, text = run(*command(world))
        assert code == 2, text
        assert str(copy) in text
    code, text = run("verify", "--study", study, "--repair")
    assert code == 1
    assert str(copy) in text
    tiny.run_directly(study)
    assert store.scan("scores", first_run_name(world)).collect().height == rows.height
    assert run("verify", "--study", study)[0] == 0


def test_files_of_a_file_manager_are_no_runs_and_no_artifacts(world):
    store, study = store_of(world), world / "study.toml"
    name = first_run_name(world)
    for place in (".", "runs", f"runs/{name}", "parts", "parts/verdicts", "parts/mislabels"):
        (world / "store" / place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    shutil.copytree(store.layout.record(name).parent, world / "store" / "runs" / f"{name} (copy)")
    for command in (*(command(world) for command in READING[:3]), ("review", "conflicts")):
        code, text = run(*command, *(("--study", study) if "--study" not in command else ()))
        assert code == 0, text
    assert run("verify", "--study", study)[0] == 0
    assert run("gc", "--study", study, "--dry-run")[0] == 0
