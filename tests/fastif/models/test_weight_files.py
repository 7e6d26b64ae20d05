"""Damaged files of a saved model: each is named, with what repairs it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from fastif import InputError, load_model
from fastif.models.weight_files import (
    INDEX,
    check_weight_types,
    find_damaged_file,
    saved_dtypes,
)

AGAIN = "Copy it again"


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a saved model."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({"a": torch.zeros(40)}, tmp_path / "model.safetensors")
    return tmp_path


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def overwrite_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def point_to_lfs(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 160\n"
    (folder / "model.safetensors").write_text(text)


def lose_shard(folder):
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    (folder / "model.safetensors").rename(folder / first)
    index = {"weight_map": {"a": first, "b": second}}
    (folder / INDEX).write_text(json.dumps(index))


def cut_config(folder):
    (folder / "config.json").write_text('{"model_type": "be')


@pytest.mark.parametrize(
    ("spoil", "name", "reason", "remedy"),
    [
        (cut, "model.safetensors", "damaged or incomplete", AGAIN),
        (overwrite_header, "model.safetensors", "damaged or incomplete", AGAIN),
        (empty, "model.safetensors", "damaged or incomplete", AGAIN),
        (point_to_lfs, "model.safetensors", "Git LFS pointer", "git lfs pull"),
        (lose_shard, "model-00002-of-00002.safetensors", "missing", AGAIN),
        (cut_config, "config.json", "no JSON", AGAIN),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(folder, spoil, name, reason, remedy):
    assert find_damaged_file(folder) is None
    spoil(folder)
    damaged = find_damaged_file(folder)
    assert damaged is not None
    assert damaged.name == name
    assert reason in damaged.reason
    assert remedy in damaged.remedy
    with pytest.raises(InputError) as refusal:
        load_model(folder)
    assert name in refusal.value.got
    assert refusal.value.remedy == damaged.remedy
    assert "hub" not in str(refusal.value)


def test_an_index_beside_the_whole_weights_is_not_read(folder):
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "model-9.safetensors"}}))
    assert find_damaged_file(folder) is None


def test_an_unknown_family_is_refused_by_its_name(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "blert"}))
    with pytest.raises(InputError, match=r"'blert': install a version .* never run"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
@pytest.mark.parametrize("parameter", ["a.weight", "base.a.weight", "weight"])
def test_quantised_weights_are_refused(folder, dtype, parameter):
    """The names in the file may lack the prefix of the base model, or have it in excess."""
    tensors = {"a.weight": torch.zeros(4).to(dtype), "a.position_ids": torch.arange(4)}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"a\.weight of type .*quantised"):
        check_weight_types(folder, [parameter])


def test_quantised_weights_of_any_name_are_refused(tmp_path):
    config = XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=16)
    XLNetForSequenceClassification(config).save_pretrained(tmp_path)
    load_model(tmp_path)
    name = "transformer.layer.0.rel_attn.q"  # neither a weight nor a bias
    replace_tensor(tmp_path, name, lambda saved: (100 * saved).to(torch.int8))
    with pytest.raises(InputError, match=rf"{name} of type I8.*quantised"):
        load_model(tmp_path)


def test_the_mask_of_an_older_gpt2_is_no_weight(tmp_path):
    """It was saved as bytes under the name of a bias, and is computed now."""
    config = GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2, pad_token_id=0
    )
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    mask = torch.ones(1, 1, 16, 16).tril().to(torch.uint8)
    replace_tensor(tmp_path, "transformer.h.0.attn.bias", lambda _: mask)
    assert load_model(tmp_path).saved_dtypes == (torch.float32,)


def replace_tensor(folder, name, change):
    """Write a tensor of a saved model anew; one that it lacks is None before."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = change(tensors.get(name))
    save_file(tensors, path, {"format": "pt"})


def test_other_files_next_to_the_weights_are_not_read(folder):
    save_file({"a.weight": torch.zeros(4).to(torch.int8)}, folder / "model_int8.safetensors")
    (folder / "cut.safetensors").write_bytes(b"")
    check_weight_types(folder, ["a.weight"])
    assert find_damaged_file(folder) is None
    assert saved_dtypes(folder) == (torch.float32,)


def test_whole_numbers_that_are_no_weights_are_allowed(folder):
    tensors = {"a.weight": torch.zeros(4).half(), "a.position_ids": torch.arange(4)}
    save_file(tensors, folder / "model.safetensors")
    check_weight_types(folder, ["a.weight"])
    assert saved_dtypes(folder) == (torch.float16,)
