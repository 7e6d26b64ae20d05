"""The map of training rows: which rows, in which space, with which colours, and how large."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from handmade_runs import Row, fill_columns, make_run_data, open_store, rows

from storage.mislabel_schemas import MISLABELS
from storage.parquet import write_table
from tasks.mislabels.text_features import FILE, hash_text
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.report.tfidf_space import make_tfidf_space
from tasks.report.training_map import MAX_BYTES, make_training_map, select_rows
from tasks.run.row_chunks import find_missing_rows, write_chunk

KIND = "encoded-3-0123456789abcdef-64"
TYPES = {"points": "<u2", "rows": "<u4"}


def read_array(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def read_content(made):
    content = json.loads(made.data)
    for key, kind in TYPES.items():
        content[key] = read_array(content[key], kind)
    content["points"] = content["points"].reshape(-1, 2)
    return content


def read_excerpts(content):
    return json.loads(zlib.decompress(base64.b64decode(content["excerpts"])))


def store_features(store, texts, features, kind=KIND, is_long=False):
    """Store features as a detection does: two layers, of which the last one counts."""
    digests = [hash_text(text, is_long) for text in texts]
    missing = find_missing_rows(store, kind, digests)
    last = torch.tensor(features)[torch.tensor(missing["id"].to_list())].float()
    write_chunk(store, kind, torch.stack([torch.zeros_like(last), last], 1), missing, FILE)


def store_detection(store, data):
    """Store a detection of wrong labels in which later rows are more suspicious."""
    count = len(data.train)
    table = [
        {"train": i, "rank": count - 1 - i, "id": row["id"], "text": row["text"],
         "text_pair": None, "label": row["label"], "suggested": "b", "probability": i / count,
         "reviewed": None, "agreeing": None, "conflicting": None, "cluster": i}
        for i, row in enumerate(data.train.to_dicts())
    ]  # fmt: skip
    facts = {"created": "2026-01-01", "procedure": 1, "rows": count, "trusted": 0, "drawn": None}
    facts |= {"budget": 20, "recall": {"planted": 40, "budget": 20, "any": 0.9, "confusable": 0.5}}

    def write(folder):
        write_table(folder, "mislabels", fill_columns(MISLABELS, table))
        (folder / "facts.json").write_text(json.dumps(facts))

    store.write_artifact("mislabels", "ab" * 32, write)


def reread(folder):
    return read_run_data(open_store(folder), "one", folder / "study.toml")


def make_features(count, width=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def project(features):
    """Coordinates of a map from a full SVD, without units and signs."""
    centred = features.astype(float) - features.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * sizes[:2]


def assert_same_map(points, features):
    """Distances of all pairs on the map are proportional to those of the projection."""
    a, b = points.astype(float), project(features)
    distances, expected = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (a, b))
    assert distances / distances.max() == pytest.approx(expected / expected.max(), abs=1e-4)


@pytest.fixture
def plain(tmp_path):
    """Forty rows without pairs, by folder and data."""
    data = make_run_data(tmp_path, rows("t", 40, ["x", "y"], "s"), rows("q", 9, ["x"], "s"))
    return tmp_path, data


def test_listed_rows_are_selected_first_and_others_at_random():
    usable = np.ones(1000, bool)
    usable[::10] = False
    listed = [999, 5, 20, 30]
    selected = select_rows(usable, listed, 100)
    assert len(selected) == len(set(selected)) == 100
    assert set(selected) >= {999, 5}
    assert usable[selected].all()
    assert (np.diff(selected) > 0).all()
    assert selected.tolist() == select_rows(usable, listed, 100).tolist()
    assert {0, 1} == {int(row) % 2 for row in selected}, "a regular step would take one parity"
    assert select_rows(usable, [], 5000).tolist() == np.flatnonzero(usable).tolist()
    assert select_rows(usable, range(1, 9), 3).tolist() == [1, 2, 3]
    assert select_rows(np.zeros(4, bool), [1], 3).tolist() == []


def test_rows_in_tables_of_the_page_are_on_the_map(plain, monkeypatch):
    folder, data = plain
    monkeypatch.setattr("tasks.report.training_map.MAX_POINTS", 5)
    store_detection(open_store(folder), data)
    page = build_page(reread(folder))
    assert page.flagged is not None
    listed = {row["train"] for row in [*page.flagged.rows, *page.most_harmful]}
    on_map = set(read_content(page.map)["rows"].tolist())
    assert listed
    assert listed <= on_map


def test_the_space_is_that_of_stored_embeddings(plain):
    folder, data = plain
    features = make_features(40)
    store_features(open_store(folder), data.train["text"], features)
    data = reread(folder)
    made = make_training_map(data, make_tfidf_space(data), [])
    assert (made.encoder, made.points, made.unembedded) == ("01234567", 40, 0)
    assert_same_map(read_content(made)["points"], features)
    assert "by the text encoder 01234567" in render_page(build_page(data))


def test_texts_in_windows_and_pairs_have_their_embeddings(tmp_path):
    train = [Row(f"t{i}", f"first {i}", pair=f"second {i % 5}") for i in range(12)]
    data = make_run_data(tmp_path, train, rows("q", 3, ["x"], "s"))
    first, second = make_features(12), make_features(5, seed=1)
    store = open_store(tmp_path)
    store_features(store, [row.text for row in train[:6]], first[:6], is_long=True)
    store_features(store, [row.text for row in train[6:]], first[6:])
    store_features(store, [f"second {i}" for i in range(5)], second)
    data = reread(tmp_path)
    pairs = second[[i % 5 for i in range(12)]]
    features = np.concatenate([first, pairs, np.abs(first - pairs), first * pairs], 1)
    made = make_training_map(data, make_tfidf_space(data), [])
    assert_same_map(read_content(made)["points"], features)


def test_rows_without_an_embedding_are_left_out_and_counted(plain):
    folder, data = plain
    features = make_features(40)
    texts = data.train["text"].to_list()
    store_features(open_store(folder), texts[:30], features[:30])
    data = reread(folder)
    made = make_training_map(data, make_tfidf_space(data), [35, 2])
    assert (made.points, made.rows, made.unembedded) == (30, 40, 10)
    assert read_content(made)["rows"].tolist() == list(range(30))
    assert "10 rows without an embedding are left out" in render_page(build_page(data))


def test_a_store_with_few_or_no_embeddings_has_the_space_of_words(plain):
    folder, data = plain
    assert data.features is None
    html = render_page(build_page(data))
    assert "for none of these rows, or for fewer than half of them" in html
    store_features(open_store(folder), data.train["text"].to_list()[:19], make_features(19))
    data = reread(folder)
    assert data.features is None
    space = make_tfidf_space(data)
    made = make_training_map(data, space, [])
    assert made.encoder is None
    assert_same_map(read_content(made)["points"], space.train.numpy())


def test_the_encoder_of_most_rows_is_used(plain):
    folder, data = plain
    store, texts = open_store(folder), data.train["text"].to_list()
    store_features(store, texts[:39], make_features(39), "encoded-3-bbbbbbbbbbbbbbbb-64")
    store_features(store, texts, make_features(40), "encoded-3-aaaaaaaaaaaaaaaa-64")
    features = reread(folder).features
    assert features is not None
    assert features.encoder == "aaaaaaaa"


def test_colours_are_those_of_the_tables(plain):
    folder, data = plain
    store_detection(open_store(folder), data)
    data = reread(folder)
    assert data.mislabels is not None
    table = data.mislabels.table.with_columns(
        probability=pl.when(pl.col("train") == 3).then(None).otherwise(pl.col("train") / 40)
    )
    detection = replace(data.mislabels, table=table)
    data = replace(data, mislabel_results=(detection,))
    content = read_content(make_training_map(data, make_tfidf_space(data), []))
    codes = read_array(content["strength"]["codes"], "u1")
    assert codes[3] == 255
    kept = [i for i in range(40) if i != 3]
    assert codes[kept] / 254 == pytest.approx(np.array(kept) / 40, abs=0.5 / 254 + 1e-6)
    effects = read_array(content["effect"]["codes"], "<i2") / 32767 * content["effect"]["largest"]
    assert effects == pytest.approx(data.harm["effect"].to_numpy(), abs=1e-4)
    for key, column in (("label", "label"), ("source", "group_s")):
        names = content[key]["names"]
        shown = [names[code] for code in read_array(content[key]["codes"], "u1")]
        assert shown == data.train[column].to_list()


def test_effects_of_a_full_scan_are_summed_over_all_queries(plain):
    _, data = plain
    totals = pl.DataFrame(
        {"train": [1, 1, 2], "correct": [True, False, True], "group": ["x", "y", "x"],
         "queries": [3, 6, 3], "removal_effect": [0.25, 0.5, -2.0]},
        schema_overrides={"train": pl.UInt32},
    )  # fmt: skip
    data = replace(data, totals=totals)
    effect = read_content(make_training_map(data, make_tfidf_space(data), []))["effect"]
    values = read_array(effect["codes"], "<i2") / 32767 * effect["largest"]
    assert values[:3] == pytest.approx([0, 0.75, -2], abs=1e-4)
    assert not values[3:].any()


@pytest.mark.parametrize("alphabet", ["plain words, repeated ", "<&>\u202e\x00", "字😀é"])
def test_five_thousand_rows_fit_a_quarter_of_a_megabyte(plain, alphabet):
    _, data = plain
    rng = np.random.default_rng(0)
    characters = np.array(list(alphabet))[rng.integers(0, len(alphabet), (5000, 120))]
    texts = ["".join(row) for row in characters]
    train = pl.DataFrame(
        {"train": range(5000), "id": [f"{i} {texts[i]}" for i in range(5000)], "text": texts,
         "text_pair": None, "label": [text[:60] for text in texts],
         "group_s": [text[-60:] for text in texts]},
        schema_overrides={"train": pl.UInt32, "text_pair": pl.String},
    )  # fmt: skip
    space = replace(make_tfidf_space(data), train=torch.tensor(make_features(5000)))
    made = make_training_map(replace(data, train=train), space, [])
    assert made.points == 5000
    assert len(made.data.encode()) <= MAX_BYTES
    assert not set("<>&\u202e\x00") & set(made.data)
    content = json.loads(made.data)
    if alphabet == "<&>\u202e\x00":  # ten characters of code points each: no excerpt fits
        assert "excerpts" not in content
    else:
        ids, excerpts = read_excerpts(content)
        assert len(ids) == len(excerpts) == 5000
        assert all(len(text) >= 10 for text in excerpts)


def test_invisible_characters_are_shown_by_their_number(tmp_path):
    train = [Row(f"t{i}\u202e", f"a\x00b {i}", "x\u2066") for i in range(3)]
    data = make_run_data(tmp_path, train, rows("q", 2, ["x"], "s"))
    made = make_training_map(data, make_tfidf_space(data), [])
    content = json.loads(made.data)
    ids, excerpts = read_excerpts(content)
    assert ids[1] == "t1⟨U+202E⟩"
    assert excerpts[1] == "a⟨U+0000⟩b 1"
    assert content["label"]["names"] == ["x⟨U+2066⟩"]


@pytest.mark.parametrize("count", [1, 2])
def test_one_row_has_a_map(tmp_path, count):
    data = make_run_data(tmp_path, rows("t", count, ["x"], "s"), rows("q", 2, ["x"], "s"))
    page = build_page(data)
    assert page.map.points == count
    assert len(read_content(page.map)["points"]) == count
    assert "</html>" in render_page(page)
