"""Commands on a study of tagged sentences: those that support it, and refusals by name."""

import command_line
import pytest
import tag_world
import tiny

COMMANDS = {
    "mislabels": ("mislabels", "STUDY"),
    "review": ("review", "apply", "STUDY"),
    "flip": ("flip", "query-0", "STUDY"),
    "serve": ("serve", "STUDY"),
    "correct": ("correct", "STUDY", "--anchors", "queries.parquet", "--out", "corrected"),
    "bisect": ("bisect", "before", "after", "STUDY"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "made"
    tag_world.make(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_without_tags_refuse_them_and_name_the_way(made, command):
    study = tag_world.write_study(made)
    words = [study if word == "STUDY" else word for word in COMMANDS[command]]
    before = command_line.contents(made)
    code, out, message = command_line.run(*words)
    assert code == 2, out + message
    assert "Traceback" not in out + message
    assert '"tags": a tag of each word' in " ".join(message.split())
    assert "`fastif spans find TABLE`" in " ".join(message.split())
    assert command_line.contents(made) == before


def test_doctor_finds_nothing_wrong(made):
    done = command_line.invoke("doctor", tag_world.write_study(made))
    words = " ".join(done.output.split())
    assert done.exit_code == 0, words
    assert "are predicted correctly" in words
    assert "`fastif spans find`" in words


REFUSED = {
    "balanced": ({"loss": {"class_weights": "balanced"}}, "numbers for tags of words"),
    "focal": ({"loss": {"kind": "focal"}}, "for the target 'tags'"),
    "weights": ({"train": {"weight": "w"}}, "words have equal weights"),
    "pair": ({"train": {"text": ["tokens", "other"]}}, "one column with lists of words"),
    "columns": ({"train": {"label": None, "labels": ["a", "b"]}}, "label, one column"),
    "spaces": ({"top": {"target": "tags", "labels": ["O", "B PER"]}}, "tags without spaces"),
    "mark": ({"top": {"target": "tags", "labels": ["O", "_"]}}, "tags without spaces"),
    "factory": ({"model": {"factory": "a.b:c"}}, "use the folder of a token classifier"),
    "quota": ({"candidates": {"kind": "knn", "k": 20, "quota": 0.1}}, "no such key with target"),
    "margin": ({"queries": {"measure": "margin"}}, '"auto" or "loss"'),
    "rank": ({"training": {"base": "base", "lora_rank": 4}}, "[training] lora_rank"),
    "no labels": ({"queries": {"label": None, "by_span": True}}, "[queries] by_span"),
    "by label": ({"queries": {"by_label": True}}, "[queries] by_label"),
    "spans of classes": (
        {"top": {"target": "class", "labels": ["a", "b"]}, "queries": {"by_span": True}},
        'target = "tags"',
    ),
    "sub-words of classes": (
        {"top": {"target": "class", "labels": ["a", "b"]}, "model": {"subwords": "all"}},
        'target = "tags"',
    ),
    "order": ({"top": {"target": "tags", "labels": tag_world.TAGS[::-1]}}, "order"),
    "fewer tags": (
        {"top": {"target": "tags", "labels": [*tag_world.TAGS, "B-ORG"]}},
        "6 output units",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_keys_and_models_that_do_not_fit_tags_are_refused(made, name):
    changes, message = REFUSED[name]
    study = tag_world.write_study(made, "refused.toml", **changes)
    refusal = command_line.run_refused(made, "audit", study)
    assert message in " ".join(refusal.split())


def test_models_of_the_other_kind_are_refused(made, tmp_path):
    tiny.make(tmp_path / "texts")
    wrong = {"model": {"path": str(tmp_path / "texts" / "model")}}
    refusal = command_line.run_refused(
        made, "audit", tag_world.write_study(made, "w.toml", **wrong)
    )
    assert "a token classifier" in refusal
    assert "BertForSequenceClassification" in refusal
    study = tiny.write_study(tmp_path / "texts", model={"path": str(made / "model")})
    refusal = command_line.run_refused(tmp_path / "texts", "audit", study)
    assert "BertForTokenClassification" in refusal
    assert 'target = "tags"' in refusal


def test_spans_behind_the_maximum_length_are_refused_by_id(made):
    changes = {"queries": {"by_span": True, "id": "id"}, "model": {"max_length": 6}}
    study = tag_world.write_study(made, "short.toml", **changes)
    before = command_line.contents(made)
    code, _, message = command_line.run("audit", study)
    words = " ".join(message.split())
    assert code == 2, words
    assert command_line.contents(made) == before
    assert "tagged words have no loss and no effect" in words  # a note on the training rows
    assert "a tagged word that the model reads" in words
    assert "with the ids query-" in words
