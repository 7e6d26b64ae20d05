"""A saved model is restored, or refused with a remedy."""

import pytest
import torch
from cases import transformer

from fastif import InputError, load_model, load_tokenizer

LABELS = ["entailment", "neutral", "contradiction"]


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a saved model with the labels LABELS."""
    model = transformer("bert", torch.float32, id2label=dict(enumerate(LABELS)))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model", model


def test_a_saved_model_is_restored(folder):
    path, model = folder
    assert (path / "model.safetensors").is_file()
    loaded = load_model(path, LABELS)
    assert not loaded.training
    assert loaded.config._attn_implementation == "eager"
    assert loaded.dtype == torch.float32
    before = model.state_dict()
    assert set(before) == set(loaded.state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("labels", [["yes", "no"], [*LABELS, "other"], ["entailment"]])
def test_another_number_of_labels_is_refused(folder, labels):
    with pytest.raises(InputError, match=f"{len(labels)} output units.*got 3"):
        load_model(folder[0], labels)


def test_labels_in_another_order_are_refused(folder):
    with pytest.raises(InputError, match="order") as caught:
        load_model(folder[0], LABELS[::-1])
    assert str(LABELS) in caught.value.expected


def test_labels_without_names_in_the_model_are_matched_by_number(folder):
    assert load_model(folder[0], ["a", "b", "c"]).config.num_labels == 3


def test_a_missing_folder_is_refused_with_a_remedy(tmp_path):
    for load in (load_model, lambda path: load_tokenizer(path, transformer("bert"))):
        with pytest.raises(InputError, match="no such folder") as caught:
            load(tmp_path / "nothing")
        assert str(tmp_path / "nothing") in caught.value.where
        assert "fastif train" in caught.value.remedy


def test_a_hub_name_without_network_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, expected in (
        ("somebody/no-such-model-here", "can be reached"),
        (tmp_path / "empty", "as save_pretrained writes it"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            load_model(source)
        assert "\n" not in str(caught.value)


def test_a_corrupt_weights_file_is_refused(folder):
    path = folder[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError):
        load_model(folder[0])


def test_a_file_without_some_weights_is_refused(folder):
    """Otherwise transformers initialises them randomly, and scores belong to an untrained model."""
    from safetensors.torch import load_file, save_file

    path = folder[0] / "model.safetensors"
    tensors = load_file(path)
    del tensors["classifier.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"classifier\.weight"):
        load_model(folder[0], LABELS)
