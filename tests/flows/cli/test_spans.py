"""The commands `fastif spans find`, `apply` and `export` on synthetic sentences."""

import csv

import numpy as np
import pytest
from command_line import invoke
from synthetic_entities import make_sentences

from fastif.tokens import Span, encode_spans
from tasks.tokens.read_tagged import read_tagged_table


def write_table(path, count=90):
    """Sentences with two errors: a missed person, and a place that is given as a firm."""
    sentences, spans = make_sentences(count)
    missed = next(i for i, own in enumerate(spans) if len(own) > 1 and own[0].kind == "PER")
    typed = next(i for i, own in enumerate(spans) if own and own[-1].kind == "LOC" and i != missed)
    given = [list(own) for own in spans]
    given[missed] = given[missed][1:]
    given[typed][-1] = Span(spans[typed][-1].start, spans[typed][-1].end, "ORG")
    rows = [
        zip(words, encode_spans(own, len(words), "BIO"), strict=True)
        for words, own in zip(sentences, given, strict=True)
    ]
    path.write_text("\n\n".join("\n".join(f"{w} {t}" for w, t in row) for row in rows) + "\n")
    return {missed, typed}, spans


def test_errors_are_found_reviewed_and_corrected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong, spans = write_table(tmp_path / "train.conll")
    words = ["find", "train.conll", "--out", "review.csv", "--page", "spans.html"]
    done = invoke("spans", *words, "--studio", "tasks.json", "--least", "0.3")
    assert done.exit_code == 0, done.output
    assert "Note: the tags are read as BIO." in done.output
    assert "Expected number of errors" in done.output
    assert "then: fastif spans apply --out train-clean.conll train.conll review.csv" in done.output
    with open("review.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert wrong <= {int(row["id"]) - 1 for row in rows}
    for row in rows:
        row["verdict"] = "accept" if int(row["id"]) - 1 in wrong else "keep"
    with open("review.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    done = invoke("spans", "apply", "train.conll", "review.csv", "--out", "clean.conll")
    assert done.exit_code == 0, done.output
    assert read_tagged_table(tmp_path / "clean.conll").spans == spans
    done = invoke("spans", "export", "clean.conll", "--out", "out.conll", "--to-scheme", "bilou")
    assert done.exit_code == 0, done.output
    exported = read_tagged_table(tmp_path / "out.conll")
    assert (exported.scheme, exported.spans) == ("BILOU", spans)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["find", "none.conll", "--out", "a.csv"], "existing file"),
        (["find", "train.conll", "--out", "train.conll"], "one that exists"),
        (["find", "train.conll", "--out", "x/a.csv"], "an existing folder"),
        (["find", "train.conll", "--out", "a.csv", "--scheme", "iob2"], "Write BIO for IOB2"),
        (["find", "train.conll", "--out", "a.csv", "--encoder", "nowhere"], "saved model"),
        (["find", "train.conll", "--out", "a.csv", "--probabilities", "p.npy"], "shape [2, 2]"),
        (["find", "words.conll", "--out", "a.csv"], "one type for each word"),
        (["find", "short.conll", "--out", "a.csv"], "20 spans or more"),
        (["export", "train.conll", "--out", "train.conll"], "one that exists"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, monkeypatch, words, match):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "train.conll", 30)
    (tmp_path / "words.conll").write_text("a NN\nb VB\n")
    (tmp_path / "short.conll").write_text("a B-P\nb O\n")
    np.save("p.npy", np.full((2, 2), 0.5))
    done = invoke("spans", *words)
    assert done.exit_code == 2
    assert match in " ".join(done.output.split())
    assert "Traceback" not in done.output
