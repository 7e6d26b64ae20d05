"""The command `fastif review apply`, from the export of a review to the corrected table."""

import polars as pl
from command_line import contents, run, run_refused

from tests.flows.cli.test_imports import SLOW, run_in_process
from tests.tasks.mislabels.corrected_study import TEXTS, annotate, write_study

TABLE = "id,text,label,n\na,first,neg,1\nb,\u00e9t\u00e9,pos,\nc,third,pos,2\n".encode()


def make_study(folder, table=TABLE):
    (folder / "rows.csv").write_bytes(table)
    return write_study(folder, ["neg", "pos"], {**TEXTS, "table": "rows.csv"})


def test_a_review_is_exported_imported_and_applied(searched, monkeypatch):
    monkeypatch.chdir(searched)
    assert run("review", "export", "--out", "review.csv", "--budget", 6)[0] == 0
    review = pl.read_csv("review.csv", infer_schema=False)
    flipped = {"neg": "pos", "pos": "neg"}
    rights = [flipped[review["label"][0]], *review["label"][1:4], "none", "none"]
    review.with_columns(right_label=pl.Series(rights)).write_csv("review.csv")
    assert run("review", "import", "review.csv")[0] == 0
    code, out, _ = run("review", "apply", "--dry-run")
    assert code == 0
    assert "Next: fastif review apply --out train-clean.csv" in out
    code, out, error = run("review", "apply", "--out", "train-clean.csv")
    assert code == 0, error
    before, after = (pl.read_csv(name) for name in ("train.csv", "train-clean.csv"))
    log = pl.read_csv("train-clean.changes.csv")
    dropped = log.filter(pl.col("change") == "dropped")["id"].to_list()
    changed = dict(log.filter(pl.col("change") == "label").select("id", "after").iter_rows())
    assert changed[review["id"][0]] == rights[0]
    assert set(review["id"][4:]) <= set(dropped)
    left = before.filter(~pl.col("id").is_in(dropped))
    expected = [changed.get(name, label) for name, label in left.select("id", "label").iter_rows()]
    assert after.equals(left.with_columns(label=pl.Series(expected)))
    study = searched / "study.toml"
    assert 'by: table = "train-clean.csv"' in out
    study.write_text(study.read_text().replace("train.csv", "train-clean.csv"))
    code, out, _ = run("review", "apply")
    assert code == 0
    assert "No row changes" in out
    assert out.rstrip().endswith("Next: fastif audit")


def test_what_would_change_is_printed_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path, TABLE.replace(b"third", b"first") + b"d,fourth,neg,\n")
    annotate(study, {"a": "pos", "b": "pos"})
    annotate(study, {"b": "neg"}, "ben")
    before = contents(tmp_path)
    code, out, _ = run("review", "apply", "--dry-run", "--drop-duplicates", "--out", "new.csv")
    assert code == 0
    assert contents(tmp_path) == before
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert "annotation neg pos 1" in lines
    assert "duplicate pos (dropped) 1" in lines
    assert 'Annotated rows without a change, reviewers disagree: 1 (ids "b").' in lines
    assert lines[-1] == "Next: fastif review apply --drop-duplicates --out new.csv"


def test_the_last_lines_name_what_to_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path, TABLE.decode().replace(",", ";").encode("cp1252"))
    study.write_text(study.read_text().replace("[train]", '[train]\nseparator = ";"'))
    annotate(study, {"a": "pos", "c": "neg"})
    code, out, _ = run("review", "apply", "--out", "data/new.parquet")
    assert code == 0
    assert "Rows written: 3 of 3, to data/new.parquet; changes, to data/new.changes.csv." in out
    *_, replaced, change, removed, last = out.rstrip().splitlines()
    assert replaced.endswith('study.toml, replace: table = "rows.csv"')
    assert change == 'by: table = "data/new.parquet"'
    assert removed == "Remove from [train]: separator."
    assert last == "Next: change the study file, then: fastif mislabels"
    text = study.read_text().replace('separator = ";"\n', "")
    study.write_text(text.replace("rows.csv", "data/new.parquet"))
    assert "No row changes" in run("review", "apply")[1]


def test_refusals_write_nothing(tmp_path):
    study = make_study(tmp_path)
    words = ("review", "apply", "--study", study)
    assert "fastif review import" in run_refused(tmp_path, *words)
    assert "[queries]" in run_refused(tmp_path, *words, "--drop-leaks")
    annotate(study, {"a": "pos", "c": "neg"})
    (tmp_path / "link.csv").symlink_to("rows.csv")
    for to in ("rows.csv", "link.csv"):
        assert "the table of [train]" in run_refused(tmp_path, *words, "--out", tmp_path / to)
    message = run_refused(tmp_path, *words, "--out", tmp_path / "rows.csv", "--dry-run")
    assert "the table of [train]" in message


def test_duplicate_ids_are_refused_and_no_text_is_printed(tmp_path):
    study = make_study(tmp_path)
    annotate(study, {"a": "pos", "c": "neg"})
    (tmp_path / "rows.csv").write_bytes(TABLE.replace(b"\nc,", b"\na,"))
    assert "unique ids" in run_refused(tmp_path, "review", "apply", "--study", study)


def test_the_command_imports_no_slow_library(tmp_path):
    study = make_study(tmp_path)
    annotate(study, {"a": "pos", "c": "neg"})
    code, text, packages = run_in_process(tmp_path, "review", "apply", "--out", "new.csv")
    assert code == 0, text
    assert "\u00e9t\u00e9" not in text
    assert packages & SLOW == set()
    assert (tmp_path / "new.csv").read_bytes() == TABLE.replace(b"t,neg", b"t,pos").replace(
        b"d,pos", b"d,neg"
    )
