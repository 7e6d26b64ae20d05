"""Texts that are longer than the encoder are embedded in windows, and their number is stated."""

import json

import pytest
import tiny
import torch
from command_line import invoke as run
from sklearn.metrics import average_precision_score

import fastif
from fastif.mislabels.text_embeddings import mean_pool
from fastif.models.pretrained import load_encoder, read_encoder_max_length
from tasks.mislabels import text_windows
from tasks.mislabels.results import read_latest_result
from tasks.mislabels.text_windows import TextWindows, split_windows
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

SIZE = 8
LONG = " ".join(tiny.GOOD[i % len(tiny.GOOD)] for i in range(15))
TEXTS = ["the film was good", LONG, "bad", f"{LONG} {LONG} very dull"]


def split(world, texts=TEXTS, size=SIZE):
    tokenizer = fastif.load_tokenizer(world / "model")
    examples = fastif.encode(tokenizer, texts, None, [0] * len(texts), size)
    return tokenizer, split_windows(tokenizer, examples, texts, size)


def test_windows_hold_every_token_once_and_in_order(world):
    tokenizer, windows = split(world)
    assert list(windows.counts) == [1, 3, 1, 6]
    assert int(windows.windows.lengths.max()) == SIZE
    for text, tokens in zip(TEXTS, windows.tokens, strict=True):
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        special = set(tokenizer.all_special_ids)
        assert [t for t in tokens.tolist() if t not in special] == words
    assert list(windows.cut) == [False] * 4
    notes = " ".join(windows.describe(SIZE))
    assert notes.startswith(f"2 of 4 texts are longer than {SIZE} tokens")
    assert "up to" not in notes


def test_an_embedding_is_the_mean_over_the_windows_by_their_tokens(world):
    _, windows = split(world)
    encoder = load_encoder(world / "model")
    actual = windows.embed(encoder, windows.windows, [3, 0, 1])
    alone = [
        mean_pool(encoder, windows.windows, torch.tensor([i])).double()[0]
        for i in range(len(windows.windows))
    ]
    lengths = windows.windows.lengths.tolist()
    for embedding, ids in zip(actual, (range(5, 11), [0], range(1, 4)), strict=True):
        total = sum(lengths[i] for i in ids)
        expected = sum(lengths[i] * alone[i] for i in ids) / total
        torch.testing.assert_close(embedding.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_text_beyond_the_last_window_is_cut_off_with_a_note(world, monkeypatch):
    monkeypatch.setattr(text_windows, "MAX_WINDOWS", 2)
    _, windows = split(world)
    assert list(windows.counts) == [1, 2, 1, 2]
    assert list(windows.cut) == [False, True, False, True]
    assert f"2 of 4 texts are used up to their first {2 * SIZE} tokens" in " ".join(
        windows.describe(SIZE)
    )


def test_a_tokenizer_without_offsets_cuts_off(world, monkeypatch):
    tokenizer, _ = split(world)
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    _, windows = split(world)
    assert list(windows.counts) == [1] * 4
    assert list(windows.cut) == [False, True, False, True]


@pytest.fixture
def long_study(world):
    """Texts whose first window is the same: only the windows after it tell the label."""
    longest = read_encoder_max_length(world / "base") or 128
    rows = []
    for i in range(60):
        word = tiny.GOOD[i % 3] if i % 2 else tiny.BAD[i % 3]
        text = " ".join(["film"] * longest + [word] * 40 + ["plot"] * (i % 7))
        label = tiny.LABELS[(i % 2) ^ (i < 4)]
        rows.append({"id": f"r{i:02d}", "text": text, "second": "a", "label": label, "kind": "x"})
    tiny.write_rows(world / "rows.csv", rows)
    study = world / "long.toml"
    study.write_text(
        f'name = "long"\nlabels = {json.dumps(tiny.LABELS)}\n[train]\ntable = "rows.csv"\n'
        'text = "text"\nlabel = "label"\nid = "id"\n[mislabels]\nencoder = "base"\n'
        '[store]\npath = "long"\n'
    )
    return study


@pytest.mark.long
def test_the_end_of_a_long_text_decides_its_label(long_study, monkeypatch):
    encoded = []
    embed = TextWindows.embed

    def count_texts(windows, model, examples, texts):
        encoded.extend(texts)
        return embed(windows, model, examples, texts)

    monkeypatch.setattr(TextWindows, "embed", count_texts)
    output, result = detect(long_study)
    is_wrong = result.table["train"].to_numpy() < 4
    assert average_precision_score(is_wrong, result.table["probability"]) > 0.9
    assert "60 of 60 texts are longer than" in output
    count = len(encoded)
    assert count > 10
    long_study.write_text(long_study.read_text().replace("[store]", "budget = 7\n[store]"))
    detect(long_study)
    assert len(encoded) == count  # cached
    long_study.write_text(long_study.read_text().replace("budget = 7", "budget = 8"))
    forecast = run("mislabels", long_study, "--dry-run").output
    assert "Encoding 0 texts" in " ".join(forecast.split())


def detect(study):
    """Run the command; return what it printed, and the result."""
    done = run("mislabels", study)
    assert done.exit_code == 0, done.output
    return done.output, read_latest_result(open_existing_store(load_study(study)))
