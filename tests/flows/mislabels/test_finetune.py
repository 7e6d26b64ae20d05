"""`[mislabels] finetune`: the encoder is fine-tuned on folds of the given labels."""

import re

import numpy as np
import polars as pl
import pytest
from command_line import invoke as run
from noisy_study import run_search
from sklearn.metrics import average_precision_score

from fastif.models.pretrained import read_encoder_max_length
from tasks.mislabels import cross_fitted_classifier

STUDY = """name = "alone"
labels = ["neg", "pos"]

[train]
table = "train.csv"
text = "text"
label = "label"
id = "id"

[mislabels]
{keys}

[store]
path = "alone"
"""


def write_study(noisy, keys='encoder = "base"\nfinetune = true', text=STUDY):
    path = noisy.parent / "alone.toml"
    path.write_text(text.format(keys=keys))
    return path


@pytest.fixture
def fits(monkeypatch):
    """Rows of each training, by their ids; the trainings are carried out."""
    rows_of_fits = []
    real = cross_fitted_classifier.fastif.fit

    def fit(objective, rows, config, *progress):
        ids = rows.ids.tolist() if hasattr(rows, "ids") else range(len(rows))
        rows_of_fits.append(set(ids))
        return real(objective, rows, config, *progress)

    monkeypatch.setattr(cross_fitted_classifier.fastif, "fit", fit)
    return rows_of_fits


def test_the_encoder_is_fine_tuned_once_a_fold_and_its_logits_are_cached(noisy, fits):
    study = write_study(noisy)
    table = run_search(study).table
    assert table["judged_loss"].null_count() == 0
    left_out = [set(range(120)) - kept for kept in fits]
    assert len(fits) == 5
    assert sorted(row for fold in left_out for row in fold) == list(range(120))
    write_study(noisy, 'encoder = "base"\nfinetune = true\nbudget = 21')
    run_search(study)
    assert len(fits) == 5
    write_study(noisy, 'encoder = "base"\nfinetune = true\nfolds = 3')
    run_search(study)
    assert len(fits) == 8


@pytest.mark.long
def test_all_parameters_of_the_encoder_are_trained(noisy, monkeypatch):
    real, names = cross_fitted_classifier.fastif.fit, []

    def fit(objective, *arguments):
        fitted = real(objective, *arguments)
        before = dict(objective.full_model.named_parameters())
        names.append({name for name in fitted if not fitted[name].equal(before[name])})
        assert fitted.keys() == before.keys()
        return fitted

    monkeypatch.setattr(cross_fitted_classifier.fastif, "fit", fit)
    run_search(write_study(noisy))
    assert any("embeddings.word" in name for name in names[0])
    assert any("layer.0" in name for name in names[0])


@pytest.mark.long
def test_a_classifier_that_has_hardly_learnt_does_no_harm(noisy):
    """Eight steps of an encoder with random weights."""
    table = run_search(write_study(noisy)).table
    is_wrong = table["id"].is_in([f"row-{i}" for i in range(12)]).to_numpy()
    assert average_precision_score(is_wrong, table["judged_loss"]) < 0.4
    assert average_precision_score(is_wrong, table["probability"]) > 0.6


def test_the_forecast_counts_the_trainings(noisy, fits):
    done = run("mislabels", write_study(noisy), "--dry-run")
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert re.search(r"cross-fitting the classifier: [\d,]+ s; nearest neighbours", words)
    assert len(fits) == 1
    assert not (noisy.parent / "alone").exists()
    without = run("mislabels", write_study(noisy, 'encoder = "base"'), "--dry-run")
    assert "cross-fitting" not in without.output


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("finetune = true", "[mislabels] finetune"),
        ('finetune = true\nencoder = "base"\njudge = "base"', "[mislabels] finetune"),
        ('encoder = "base"\nfolds = 3', "[mislabels] folds"),
        ('encoder = "base"\nfinetune = "yes"', "[mislabels] finetune"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(noisy, keys, place):
    done = run("mislabels", write_study(noisy, keys))
    assert done.exit_code == 2
    assert place in done.output


def test_features_are_not_fine_tuned(noisy):
    frame = pl.DataFrame({"a": range(40), "label": ["neg", "pos"] * 20, "id": range(40)})
    frame.write_csv(noisy.parent / "train.csv")
    text = STUDY.replace('text = "text"', 'features = ["a"]')
    done = run("mislabels", write_study(noisy, "finetune = true", text))
    assert done.exit_code == 2
    assert "both need texts" in " ".join(done.output.split())


def relabel(noisy, labels):
    frame = pl.read_csv(noisy.parent / "train.csv")
    frame.with_columns(label=pl.Series(labels)).write_csv(noisy.parent / "train.csv")


@pytest.mark.long
def test_a_ranking_by_chance_is_not_shown_because_a_classifier_was_fitted(noisy):
    relabel(noisy, np.random.default_rng(0).choice(["neg", "pos"], 120))
    done = run("mislabels", write_study(noisy))
    assert done.exit_code == 0, done.output
    assert "no better than chance" in " ".join(done.output.split())
    assert "suggested" not in done.output


@pytest.mark.long
def test_the_only_row_of_a_class_has_no_probability(noisy):
    """No fold has trained on another row of its class."""
    labels = ["neg", "pos"] * 60
    labels[7] = "rare"
    relabel(noisy, labels)
    text = STUDY.replace('"pos"]', '"pos", "rare"]')
    table = run_search(write_study(noisy, text=text)).table
    alone = table.filter(pl.col("label") == "rare")
    assert alone["probability"].to_list() == [None]
    assert table["probability"].null_count() == 1


@pytest.mark.long
def test_texts_beyond_the_encoder_are_truncated_with_a_note(noisy):
    """The encoder of this study has fewer positions than the 128 tokens of `[model]`."""
    frame = pl.read_csv(noisy.parent / "train.csv")
    longest = read_encoder_max_length(noisy.parent / "base")
    assert longest is not None
    assert longest < 128
    tail = " ".join(["film"] * longest)
    frame.with_columns(
        text=pl.when(pl.int_range(pl.len()) < 40)
        .then(pl.col("text") + f" {tail}")
        .otherwise("text")
    ).write_csv(noisy.parent / "train.csv")
    for options in (("--dry-run",), ()):
        done = run("mislabels", write_study(noisy), *options)
        assert done.exit_code == 0, done.output
    assert f"40 of 120 texts are truncated to {longest} tokens" in " ".join(done.output.split())
