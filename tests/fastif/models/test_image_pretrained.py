"""Loading of image classifiers and their processors, and what is refused."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, ViTImageProcessorPil

from fastif.errors import InputError
from fastif.models.image_pretrained import (
    load_image_base,
    load_image_classifier,
    load_image_encoder,
    load_image_processor,
)
from tests.fastif.models.image_cases import LABELS, encode_png, make_image_model


def save_model(folder, family: str = "vit", **keys) -> None:
    make_image_model(family, **keys).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


def test_a_saved_model_is_loaded_with_its_processor(tmp_path):
    save_model(tmp_path)
    model = load_image_classifier(tmp_path, LABELS)
    processor = load_image_processor(tmp_path, model)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(processor(encode_png(pixels)), expected, rtol=1e-6, atol=1e-6)
    grey = processor(encode_png(pixels[..., 0]))
    assert torch.equal(grey[0], grey[1])
    plain = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(
        model(pixel_values=expected[None]).logits, plain(pixel_values=expected[None]).logits
    )


def test_a_model_of_one_channel_reads_grey_images(tmp_path):
    save_model(tmp_path, channels=1)
    settings = tmp_path / "preprocessor_config.json"
    values = json.loads(settings.read_text()) | {"image_mean": [0.5], "image_std": [0.5]}
    settings.write_text(json.dumps(values))
    processor = load_image_processor(tmp_path, load_image_classifier(tmp_path))
    assert processor(encode_png(np.zeros((9, 7, 3), np.uint8))).shape == (1, 16, 16)


def test_what_cannot_be_trusted_is_refused(tmp_path):
    save_model(tmp_path)
    with pytest.raises(InputError, match="order of the model's output units"):
        load_image_classifier(tmp_path, LABELS[::-1])
    model = load_image_classifier(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        load_image_processor(tmp_path, model)
    state = model.state_dict()
    del state["classifier.weight"]
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(InputError, match="no weights for classifier"):
        load_image_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled"):
        load_image_classifier(tmp_path)


def test_a_base_gets_a_new_head_and_keeps_its_stages(tmp_path):
    save_model(tmp_path, "resnet")
    base, encoder = load_image_base(tmp_path, ["a", "b"]), load_image_encoder(tmp_path)
    assert base.state_dict()["classifier.1.weight"].shape == (2, 6)
    stem = "embedder.embedder.convolution.weight"
    torch.testing.assert_close(base.state_dict()[f"resnet.{stem}"], encoder.state_dict()[stem])


def test_a_timm_model_needs_timm(tmp_path, monkeypatch):
    config = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {"input_size": [3]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"fastif\[timm\]"):
        load_image_classifier(tmp_path)
