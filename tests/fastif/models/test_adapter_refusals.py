"""LoRA adapters that are refused by name: other kinds, and those that do not fit their base."""

import shutil

import peft
import pytest
import torch
from adapters import changed_settings, make_adapted, make_base
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from fastif import InputError, TransformerObjective, load_model
from fastif.models import dequantised_base
from fastif.models.pretrained import load_base

WEIGHTS = "adapter_model.safetensors"

KINDS = {
    "prompt tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
    "prefix tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
    "IA3": lambda: peft.IA3Config(task_type="SEQ_CLS"),
    "VeRA": lambda: peft.VeraConfig(task_type="SEQ_CLS", r=2),
    "LoHa": lambda: peft.LoHaConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]),
    "DoRA": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True),
    "PiSSA": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights="pissa"),
    "tokens": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, trainable_token_indices=[1, 2]),
}
NAMED = {"DoRA": "use_dora", "PiSSA": "pissa", "tokens": "trainable_token_indices"}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_adapters_are_refused_by_name(tmp_path, kind):
    adapted = peft.get_peft_model(make_base(tmp_path / "base", "bert"), KINDS[kind]())
    adapted.save_pretrained(tmp_path / "adapter")
    name = NAMED.get(kind, "peft_type")
    with pytest.raises(InputError, match=rf"LoRA adapter.*{name}.*merge_and_unload"):
        load_model(tmp_path / "adapter")
    with pytest.raises(InputError, match=rf"LoRA adapter.*{name}"):
        TransformerObjective(adapted, "adapter")


def test_settings_of_a_later_version_and_other_tasks_are_refused_by_name(tmp_path):
    make_adapted(tmp_path)
    for key, setting in {"use_novel": True, "megatron_config": {"a": 1}}.items():
        with changed_settings(tmp_path / "adapter") as settings:
            settings[key] = setting
        with pytest.raises(InputError, match=f"LoRA with {key} ="):
            load_model(tmp_path / "adapter")
        with changed_settings(tmp_path / "adapter") as settings:
            settings[key] = None
    with changed_settings(tmp_path / "adapter") as settings:
        settings["task_type"] = "CAUSAL_LM"
    with pytest.raises(InputError, match="task_type 'CAUSAL_LM'"):
        load_model(tmp_path / "adapter")


def change_tensors(folder, change):
    """Write the tensors of an adapter after a change."""
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors), folder / WEIGHTS, metadata={"format": "pt"})


def _drop(pattern):
    return lambda tensors: {k: t for k, t in tensors.items() if pattern not in k}


def _widen(tensors):
    return {k: torch.cat([t, t]) if "lora_A" in k else t for k, t in tensors.items()}


def _rename(tensors):
    return {k.replace("layer.2.", "layer.7."): t for k, t in tensors.items()}


SPOILS = {
    "a matrix is missing": (_drop("layer.1.attention.self.value.lora_B"), "1 weights not saved"),
    "another rank": (_widen, "size mismatch"),
    "a deeper base": (_rename, "weights not saved|without a place"),
    "the head is missing": (
        _drop("classifier"),
        "no weights for base_model.model.classifier.weight",
    ),
    "whole numbers": (lambda ts: {k: t.long() for k, t in ts.items()}, "of type int64"),
    "a foreign tensor": (lambda ts: ts | {"base_model.model.novel": torch.ones(2)}, "without a"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_an_adapter_that_does_not_fit_its_base_is_refused(tmp_path, spoil):
    make_adapted(tmp_path)
    change, words = SPOILS[spoil]
    change_tensors(tmp_path / "adapter", change)
    with pytest.raises(InputError, match=words):
        load_model(tmp_path / "adapter")


def test_a_base_of_another_size_or_family_is_refused(tmp_path):
    make_adapted(tmp_path)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(InputError, match=r"no folder .*base.*base_model_name_or_path"):
        load_model(tmp_path / "adapter")
    make_base(tmp_path / "base", "llama")
    with pytest.raises(InputError, match="an adapter of its base"):
        load_model(tmp_path / "adapter")
    make_base(tmp_path / "base", "bert", hidden_size=12)
    with pytest.raises(InputError, match="size mismatch"):
        load_model(tmp_path / "adapter")


def test_an_adapter_whose_head_or_pooler_would_be_random_is_refused(tmp_path):
    make_adapted(tmp_path, task_type=None, target_modules=["query"])
    assert load_model(tmp_path / "adapter", ["a", "b", "c"])  # the head is that of the base
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    base.bert.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match=r"no weights for classifier.*would be random"):
        load_model(tmp_path / "adapter")
    make_adapted(tmp_path / "other")
    weights = load_file(tmp_path / "other/base/model.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(weights, tmp_path / "other/base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no weights for bert\.pooler.*would be random"):
        load_model(tmp_path / "other/adapter")


def test_files_that_are_pickled_damaged_missing_or_contradictory_are_refused(tmp_path):
    make_adapted(tmp_path)
    adapter = tmp_path / "adapter"
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match="pickled weights are never read"):
        load_model(adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match="no such file"):
        load_model(adapter)
    (adapter / WEIGHTS).write_bytes(b"version https://git-lfs")
    with pytest.raises(InputError, match="damaged or incomplete"):
        load_model(adapter)
    (adapter / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="both in one folder"):
        load_model(adapter)
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        load_model(adapter)


def test_bases_that_are_quantised_adapters_or_not_named_are_refused(tmp_path, monkeypatch):
    make_adapted(tmp_path)
    adapter, path = tmp_path / "adapter", tmp_path / "base/config.json"
    text = path.read_text()
    monkeypatch.setattr(dequantised_base, "PACKAGES", ("no_such_package",))
    for method, words in {
        "gptq": r"quantised \(gptq\)\. Name the base in 16 or 32 bits",
        "bitsandbytes": r"quantised \(bitsandbytes\), without the package no_such_package",
    }.items():
        entry = f'{{"quantization_config": {{"quant_method": "{method}"}},'
        path.write_text(text.replace("{", entry, 1))
        with pytest.raises(InputError, match=words):
            load_model(adapter)
    with changed_settings(adapter) as settings:
        settings["base_model_name_or_path"] = str(adapter)
    with pytest.raises(InputError, match="an adapter itself"):
        load_model(adapter)
    with changed_settings(adapter) as settings:
        settings["base_model_name_or_path"] = None
    with pytest.raises(InputError, match="its base model"):
        load_model(adapter)
    with pytest.raises(InputError, match="a base to train"):
        load_base(adapter, ["a", "b", "c"])
