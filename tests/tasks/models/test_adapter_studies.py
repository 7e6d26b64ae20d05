"""Studies of models with a LoRA adapter: trained here, or by PEFT and the Trainer elsewhere."""

import shutil
from pathlib import Path

import peft
import polars as pl
import pytest
import reference
import tiny
import torch
from adapters import changed_settings
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from truth import Truth, table

import fastif
from fastif import InputError
from tasks.models.checkpoints import search_checkpoints
from tasks.models.finetune import find_checkpoint, train_model
from tasks.models.locate import compute_model_digest
from tasks.study.errors import StudyError
from tasks.study.study import load_study

RECIPE = {"base": "base", "epochs": 3, "learning_rate": 2e-2, "batch_size": 16, "lora_rank": 2}
MODEL = "out/trained"
DAMPING = 0.05
COUNTS = {"train": 20, "queries": 6}
"""Rows of the tables that are compared with dense algebra."""


def write(world: Path, **changes: object) -> Path:
    return tiny.write_study(
        world,
        model={"path": MODEL},
        parameters={"attributed": "adapter"},
        curvature={"damping": DAMPING},
        candidates={"kind": "full"},
        training={**RECIPE, **changes},
    )


@pytest.fixture(scope="module")
def trained_world(made, tmp_path_factory) -> Path:
    """The tiny study with a model that `fastif train` tuned by LoRA; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("adapted") / "world")
    train_model.fn(str(write(folder)))
    return folder


@pytest.fixture
def adapted(trained_world, tmp_path) -> Path:
    """A copy that names its own base."""
    world = tiny.copy(trained_world, tmp_path / "world")
    for folder in (world / MODEL, *(world / MODEL).glob("checkpoint-*")):
        with changed_settings(folder) as settings:
            settings["base_model_name_or_path"] = str(world / "base")
    return world


def load_by_peft(folder: Path, base: Path) -> peft.PeftModel:
    model = AutoModelForSequenceClassification.from_pretrained(base, attn_implementation="eager")
    return peft.PeftModel.from_pretrained(model, str(folder)).eval()


class AdapterTruth(Truth):
    """The model as PEFT loads it, in double precision."""

    def __init__(self, folder: Path, base: Path, train, queries) -> None:
        self.model = load_by_peft(folder, base).double()
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        own = ("lora_", "modules_to_save")
        self.names = [n for n, _ in self.model.named_parameters() if any(o in n for o in own)]
        self.train, self.queries = (self._problem(rows, False) for rows in (train, queries))


def test_a_trained_adapter_is_small_and_peft_reads_it(adapted):
    folder = adapted / MODEL
    assert not (folder / "model.safetensors").exists()
    base = load_file(adapted / "base/model.safetensors")
    model = load_by_peft(folder, adapted / "base")
    for name, tensor in model.base_model.model.bert.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(tensor, base[name.replace(".base_layer", "")])
    assert any(t.abs().max() > 0 for name, t in model.named_parameters() if "lora_B" in name)
    loaded, tokens = fastif.load_model(folder, tiny.LABELS), torch.randint(5, 20, (4, 7))
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-6)
    auto = peft.AutoPeftModelForSequenceClassification.from_pretrained(str(folder)).eval()
    torch.testing.assert_close(auto(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-6)


def test_training_again_makes_the_same_adapter_or_is_skipped(adapted, trained_world):
    study = write(adapted)
    existing = find_checkpoint(study)
    assert existing is not None
    assert existing.skipped
    write(adapted, lora_alpha=5.0)
    assert find_checkpoint(study) is None
    write(adapted, lora_alpha=4.0)  # the default, stated
    result = train_model.fn(str(study))
    assert not result.skipped
    name = "adapter_model.safetensors"
    again, before = (load_file(world / MODEL / name) for world in (adapted, trained_world))
    assert again.keys() == before.keys()
    assert all(torch.equal(again[key], before[key]) for key in again)


def test_the_audit_of_an_adapter_has_the_effects_of_dense_algebra(adapted):
    rows = [tiny.rows_of(adapted / f"{name}.csv")[:count] for name, count in COUNTS.items()]
    for name, few in zip(COUNTS, rows, strict=True):
        tiny.write_rows(adapted / f"{name}.csv", few)
    store, run = tiny.run_directly(write(adapted))
    truth = AdapterTruth(adapted / MODEL, adapted / "base", *rows)
    scores = store.scan("scores", run).collect()
    assert scores.height == COUNTS["train"] * COUNTS["queries"]
    expected = table(truth.effects(DAMPING), scores)
    actual = scores["removal_effect"].cast(pl.Float64).to_torch()
    assert reference.pearson(actual, expected) > 0.9999
    torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-4 * float(expected.abs().max()))


def test_checkpoints_of_the_training_are_found(adapted):
    search = search_checkpoints(adapted / MODEL)
    assert [c.fraction for c in search.checkpoints] == [0.125, 0.25, 0.5]
    assert not search.ignored
    shutil.rmtree(adapted / MODEL / "checkpoint-0.25")
    pickled = adapted / MODEL / "checkpoint-0.5"
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    search = search_checkpoints(adapted / MODEL)
    assert [c.fraction for c in search.checkpoints] == [0.125]
    assert "safetensors" in search.ignored[0].reason


def test_the_base_is_part_of_the_identity_and_its_place_is_not(adapted):
    folder = adapted / MODEL
    digest = compute_model_digest(folder)
    (adapted / "base").rename(adapted / "moved")
    with pytest.raises(InputError, match="its base model"):
        compute_model_digest(folder)
    with changed_settings(folder) as settings:
        settings["base_model_name_or_path"] = "../../moved"
    assert compute_model_digest(folder) == digest
    model = AutoModelForSequenceClassification.from_pretrained(adapted / "moved")
    model.bert.encoder.layer[0].output.dense.bias.data += 1
    model.bert.save_pretrained(adapted / "moved")
    changed = compute_model_digest(folder)
    assert changed != digest
    with changed_settings(folder) as settings:
        settings["lora_alpha"] = 100
    assert compute_model_digest(folder) != changed


def test_the_tokenizer_is_the_bases_where_the_adapter_has_none(adapted):
    folder = adapted / MODEL
    own = fastif.load_tokenizer(folder)
    for path in (*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("special*")):
        path.unlink()
    (folder / "config.json").unlink()
    model = fastif.load_model(folder)
    tokenizer = fastif.load_tokenizer(folder, model)
    assert tokenizer.get_vocab() == own.get_vocab()
    assert list(model.config.id2label.values()) == tiny.LABELS  # those of the base
    store, run = tiny.run_directly(write(adapted))
    assert store.scan("scores", run).collect().height == tiny.QUERIES * tiny.TRAIN


CONTRADICTIONS = [
    ({"trainable": "last:1"}, "no key trainable with lora_rank"),
    ({"lora_rank": None, "lora_alpha": 3.0}, "a rank with it"),
    ({"lora_rank": None, "lora_targets": ["query"]}, "a rank with it"),
    ({"lora_rank": 0}, "lora_rank"),
    ({"lora_targets": "every-layer"}, "lora_targets"),
]


@pytest.mark.parametrize(("changes", "message"), CONTRADICTIONS)
def test_contradictory_keys_are_refused(world, changes, message):
    recipe = {key: setting for key, setting in {**RECIPE, **changes}.items() if setting is not None}
    study = tiny.write_study(world, model={"path": MODEL}, training=recipe)
    with pytest.raises(StudyError, match=message):
        load_study(study)


def test_targets_that_are_not_there_and_words_without_an_adapter_are_refused(world):
    with pytest.raises(InputError, match=r"lora_targets.*all-linear"):
        train_model.fn(str(write(world, lora_targets=["q_proj"])))
    study = tiny.write_study(world, parameters={"attributed": "adapter"})
    with pytest.raises(InputError, match="model with a LoRA adapter"):
        tiny.run_directly(study)


@pytest.mark.long
def test_retraining_for_the_damping_trains_adapters(adapted):
    study = write(adapted)
    text = study.read_text().replace(f"damping = {DAMPING}", 'damping = "auto"')
    study.write_text(text)
    store, run = tiny.run_directly(study)
    chosen = store.scan("runs", run).select("damping").collect().item()
    assert chosen > 0
    effects = store.scan("scores", run).collect()["removal_effect"]
    assert effects.is_finite().all()
