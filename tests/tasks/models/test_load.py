"""Models of other precisions and families, compared with unbatched rows in float64."""

import json

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    FNetConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    XLNetConfig,
)
from truth import Truth, table

from fastif import InputError
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run
from tasks.run.spec import plan_run
from tasks.terminal.doctor import run_checks

DAMPING = 0.01
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
LLAMA = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA |= {"num_key_value_heads": 1, "intermediate_size": 16}
GPT = {"n_embd": 12, "n_layer": 2, "n_head": 2, "n_positions": 32}
FAMILIES = {
    "llama": LlamaConfig(**LLAMA, pad_token_id=0),
    "llama without padding": LlamaConfig(**LLAMA, pad_token_id=None),
    "gpt2": GPT2Config(**GPT, pad_token_id=2),
    "xlnet": XLNetConfig(d_model=12, n_layer=2, n_head=2, d_inner=16),
    "fnet": FNetConfig(
        hidden_size=12, num_hidden_layers=2, intermediate_size=16, max_position_embeddings=32
    ),
    "roberta": RobertaConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        type_vocab_size=1,
        pad_token_id=0,
    ),
}
NOTES = {"xlnet": "on the left", "fnet": "equal length", "llama without padding": "on the left"}
QUICK = (("roberta", True),)


def _mark_long(quick: bool) -> list[pytest.MarkDecorator]:
    return [] if quick else [pytest.mark.long]


def _check_same_effects(study, truth) -> None:
    store, run = tiny.run_directly(study)
    scores = store.scan("scores", run).collect()
    expected = table(truth.effects(DAMPING), scores)
    actual = torch.tensor(scores["removal_effect"].to_list(), dtype=torch.float64)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(actual, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_mark_long(name == "bfloat16")) for name in TYPES]
)
def test_weights_of_another_precision_are_audited_in_single_precision_with_a_note(world, name):
    path = world / "model" / "model.safetensors"
    weights = {key: weight.to(TYPES[name]) for key, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    config = world / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": name}))
    study = tiny.write_study(world, candidates={"kind": "full"}, run={"shard_size": 50})
    rows = [tiny.rows_of(world / f"{of}.csv") for of in ("train", "queries")]
    _check_same_effects(study, Truth(world / "model", *rows, tiny.LAST))
    findings = " ".join(check.detail for check in run_checks(study) if check.name == "model")
    assert f"weights of {name} are converted to float32" in findings


class Alone(Truth):
    """Any classifier with its attributed parameters; token types only if it has several."""

    def __init__(self, world, names: tuple[str, ...], pairs: bool) -> None:
        folder = world / "model"
        self.model = AutoModelForSequenceClassification.from_pretrained(folder)
        self.model.double().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.names = list(names)
        rows = [tiny.rows_of(world / f"{of}.csv") for of in ("train", "queries")]
        self.train, self.queries = (self._problem(some, pairs) for some in rows)
        kinds = getattr(self.model.config, "type_vocab_size", 2)
        for given in (*self.train.inputs, *self.queries.inputs):
            given.pop("attention_mask")
            if kinds == 1 or not bool(given["token_type_ids"].any()):
                given.pop("token_type_ids")


def _replace_model(world, name: str) -> None:
    """The study's model, of another family, with its tokenizer."""
    config = FAMILIES[name]
    config.update(
        {"vocab_size": len(AutoTokenizer.from_pretrained(world / "model")), "num_labels": 2}
    )
    config.initializer_range = 0.3
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(world / "model")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        pytest.param(name, pairs, marks=_mark_long((name, pairs) in QUICK))
        for name in FAMILIES
        for pairs in (False, True)
    ],
)
def test_effects_of_any_model_family_equal_those_of_unbatched_rows(world, name, pairs):
    _replace_model(world, name)
    second = {"text": ["text", "second"]} if pairs else {}
    study = tiny.write_study(
        world,
        train=second,
        queries=second,
        candidates={"kind": "full"},
        run={"shard_size": 50, "prefix_cache_mb": 0 if pairs else 10},
    )
    context = load_run(plan_run(study))
    assert context.objective.num_frozen_layers == 1
    assert context.train_examples.equal_lengths is (NOTES.get(name) == "equal length")
    notes = forecast_run(context, plan_run(study).record.list_shards()).notes
    assert NOTES.get(name, "") in " ".join(notes)
    assert bool(notes) is (name in NOTES)
    _check_same_effects(study, Alone(world, context.objective.space.names, pairs))


def test_a_model_of_several_labels_a_row_is_refused_before_anything_is_computed(world):
    path = world / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    with pytest.raises(InputError, match="one label for each row"):
        load_run(plan_run(world / "study.toml"))


def test_a_base_of_half_precision_is_trained_in_single_and_a_folder_of_none_refused(world):
    from tasks.models.finetune import find_checkpoint, train_model

    study = tiny.write_study(
        world, model={"path": "new"}, training={"base": "base", "epochs": 1, "trainable": "last:1"}
    )
    path = world / "base" / "model.safetensors"
    save_file({k: w.bfloat16() for k, w in load_file(path).items()}, path, {"format": "pt"})
    train_model.fn(str(study))
    made = load_file(world / "new" / "model.safetensors")
    assert {weight.dtype for weight in made.values()} == {torch.float32}
    (world / "base" / "config.json").write_text("{}")
    assert find_checkpoint(study) is None
    with pytest.raises(InputError, match="Unrecognized model"):
        train_model.fn(str(study))


def test_a_truncated_text_is_as_long_as_the_model_has_positions(world):
    study = tiny.write_study(world, model={"max_length": 33})
    with pytest.raises(InputError, match="at most 32, the positions"):
        load_run(plan_run(study))
