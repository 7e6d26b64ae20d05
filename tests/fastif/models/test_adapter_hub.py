"""LoRA adapters whose base is a name of the Hugging Face hub, in its cache and without network."""

import json
import logging
import shutil

import huggingface_hub
import peft
import pytest
import torch
from adapters import changed_settings, make_adapted, make_base
from cases import token_examples
from hub_cache import HubCache
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from fastif import InputError, load_model
from fastif.models.adapter_folder import AdapterFolder
from fastif.models.pretrained import read_encoder_width

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch) -> HubCache:
    return HubCache(tmp_path / "hub", monkeypatch)


def name_base(folder, name: str, revision: str | None = None) -> None:
    with changed_settings(folder / "adapter") as settings:
        settings |= {"base_model_name_or_path": name, "revision": revision}


def outputs_of(model) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=t[None]).logits for t in token_examples(4).tokens])


def test_a_base_is_that_of_the_cache_at_its_revision(tmp_path, cache):
    adapted = make_adapted(tmp_path)
    first = cache.store("org/base", tmp_path / "base", FIRST)
    moved = shutil.copytree(tmp_path / "base", tmp_path / "moved")
    weights = load_file(moved / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"] *= 2
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    second = cache.store("org/base", moved, SECOND)
    assert not huggingface_hub.scan_cache_dir(cache.folder).warnings
    shutil.rmtree(tmp_path / "base")
    name_base(tmp_path, "org/base", FIRST)
    assert AdapterFolder(tmp_path / "adapter").base_folder == first
    pinned = outputs_of(load_model(tmp_path / "adapter"))
    torch.testing.assert_close(pinned, outputs_of(adapted), rtol=0, atol=0)
    assert read_encoder_width(tmp_path / "adapter") == 8
    name_base(tmp_path, "org/base")
    assert AdapterFolder(tmp_path / "adapter").base_folder == second
    assert not torch.allclose(outputs_of(load_model(tmp_path / "adapter")), pinned, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "revision", "words"),
    [
        ("org/other", None, r"org/other, which is not in the cache .*HF_HUB_OFFLINE is set"),
        ("org/base", "v2", r"org/base at revision v2, which is not in the cache"),
        ("org/base", SECOND, rf"org/base at revision {SECOND}, which is not in the cache"),
        ("org/partial", None, "no weights as safetensors"),
        ("org/sharded", None, r"no model-2\.safetensors, a part of its weights"),
    ],
)
def test_a_base_that_is_not_there_is_refused_by_name(tmp_path, cache, name, revision, words):
    make_adapted(tmp_path)
    base = tmp_path / "base"
    cache.store("org/base", base, FIRST)
    cache.store("org/partial", base, FIRST, without="model.safetensors")
    parts = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(parts))
    cache.store("org/sharded", base, FIRST)
    name_base(tmp_path, name, revision)
    with pytest.raises(InputError, match=rf"its base model.*{words}.*hf download {name}"):
        load_model(tmp_path / "adapter")


def test_without_a_network_the_cache_serves_and_what_is_not_there_is_refused(
    tmp_path, cache, monkeypatch, caplog
):
    """Requests go to a closed port of this machine."""
    make_adapted(tmp_path)
    cache.store("org/base", tmp_path / "base", FIRST)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    name_base(tmp_path, "org/base")
    with caplog.at_level(logging.WARNING):
        assert load_model(tmp_path / "adapter")
    assert "its base org/base comes from the Hugging Face hub" in caplog.text
    name_base(tmp_path, "org/other")
    with pytest.raises(InputError, match=r"org/other, .*not in the cache.*hub cannot be reached"):
        load_model(tmp_path / "adapter")


def test_code_in_the_snapshot_of_a_base_is_not_run(tmp_path, cache):
    make_adapted(tmp_path)
    base = tmp_path / "base"
    (base / "model.py").write_text("raise SystemExit('it was run')")
    config = json.loads((base / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {
            "AutoConfig": "model.C",
            "AutoModelForSequenceClassification": "model.M",
        },
    }
    (base / "config.json").write_text(json.dumps(config))
    cache.store("org/base", base, FIRST)
    name_base(tmp_path, "org/base")
    with pytest.raises(InputError, match="own"):
        load_model(tmp_path / "adapter")


def test_several_adapters_in_a_folder_are_named_by_their_subfolders(tmp_path):
    """PEFT saves the adapter `default` in the folder itself, and others below it."""
    adapted = make_adapted(tmp_path)
    adapted.add_adapter("other", peft.LoraConfig(task_type="SEQ_CLS", r=1))
    adapted.set_adapter("other")
    for name, tensor in adapted.named_parameters():
        if ".other." in name:
            tensor.data += 0.1
    adapted.save_pretrained(tmp_path / "both")
    other = outputs_of(adapted)
    adapted.set_adapter("default")
    for folder, expected in (("both", outputs_of(adapted)), ("both/other", other)):
        actual = outputs_of(load_model(tmp_path / folder))
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert not torch.allclose(outputs_of(adapted), other)
    (tmp_path / "both/adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"folder of adapters: other\. Name one of them"):
        load_model(tmp_path / "both")


def test_resized_embeddings_do_not_fit_the_base_and_saved_ones_of_its_size_do(tmp_path):
    base = make_base(tmp_path / "base", "bert")
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2)).eval()
    adapted.base_model.model.bert.embeddings.word_embeddings.weight.data *= 2
    adapted.save_pretrained(tmp_path / "same", save_embedding_layers=True)
    expected = outputs_of(adapted)
    actual = outputs_of(load_model(tmp_path / "same"))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    base = make_base(tmp_path / "base", "bert")
    base.resize_token_embeddings(44, mean_resizing=False)
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2))
    adapted.save_pretrained(tmp_path / "larger", save_embedding_layers=True)
    with pytest.raises(InputError, match=r"size mismatch for .*word_embeddings"):
        load_model(tmp_path / "larger")
