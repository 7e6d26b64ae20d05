"""LoRA adapters: loaded as PEFT loads them, attributed exactly, or refused by name."""

import peft
import pytest
import reference
import torch
from adapters import changed_settings, make_adapted, make_base, working_directory
from cases import text_problem, token_examples
from safetensors.torch import load_file

from fastif import Gradients, InputError, TransformerObjective, load_model, predict
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.adapter import get_adapter
from fastif.models.adapter_folder import AdapterFolder
from fastif.models.layer_split import select_attributed_names
from fastif.models.pretrained import load_encoder
from fastif.models.save_classifier import save_adapter

FAMILIES = ("bert", "llama", "roberta", "electra")
ROUNDING = ("llama",)
"""Families that round to single precision inside, for any type of their weights."""
WEIGHTS = "adapter_model.safetensors"


def outputs_of(model, examples) -> torch.Tensor:
    """The outputs for each text alone."""
    with torch.no_grad():
        return torch.cat([model(input_ids=tokens[None]).logits for tokens in examples.tokens])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_adapter_is_that_of_peft_and_agrees_with_the_merged_model(tmp_path, family):
    adapted, examples = make_adapted(tmp_path, family), token_examples(5)
    model = load_model(tmp_path / "adapter")
    assert type(model).__name__.endswith("ForSequenceClassification")
    assert not model.training
    expected = outputs_of(adapted, examples)
    torch.testing.assert_close(outputs_of(model, examples), expected, rtol=0, atol=0)
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    whole = load_model(tmp_path / "merged")
    torch.testing.assert_close(outputs_of(whole, examples), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_by_hooks_are_those_of_autograd_in_the_model_of_peft(tmp_path, family):
    adapted = make_adapted(tmp_path, family).double()
    trained = {n for n, _ in adapted.named_parameters() if "lora_" in n or "modules_to_save" in n}
    names = [n for n, _ in adapted.named_parameters() if n in trained]
    examples = token_examples(6)
    expected = reference.gradients(text_problem(adapted, tuple(names), examples))
    dtype = torch.float32 if family in ROUNDING else torch.float64
    objective = TransformerObjective(load_model(tmp_path / "adapter").to(dtype), "adapter")
    gradients = Gradients(objective)
    actual = compute_loss_gradients(gradients, examples)
    assert gradients.per_example_backward is False
    assert objective.space.size == expected.shape[1]
    relative = float((actual - expected).norm() / expected.norm())
    assert relative < (1e-5 if family in ROUNDING else 1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_below_the_first_adapter_are_cut_and_change_nothing(tmp_path, family):
    make_adapted(tmp_path, family, layers_to_transform=[2])
    model = load_model(tmp_path / "adapter").double()
    objective = TransformerObjective(model, "adapter")
    assert objective.num_frozen_layers == 2
    assert objective.cut_note is None
    examples = token_examples(6)
    batch = examples.take(torch.arange(6))
    cut = objective.outputs(objective.params, objective.compute_prefix(batch))
    tolerance = 1e-5 if family in ROUNDING else 1e-10
    expected = outputs_of(model, examples)
    torch.testing.assert_close(cut, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear", "use_rslora": True},
        {"rank_pattern": {"layer.1": 3}, "alpha_pattern": {"layer.0": 7}},
        {"bias": "lora_only"},
        {"bias": "all", "lora_bias": False},
        {"target_modules": ["query"], "lora_bias": True},
        {"modules_to_save": ["classifier", "pooler"]},
        {"target_modules": ["word_embeddings", "value"]},
        {"target_modules": r".*layer\.[01].*(query|dense)", "init_lora_weights": "gaussian"},
    ],
    ids=str,
)
def test_every_form_of_lora_has_the_gradients_of_autograd(tmp_path, settings):
    adapted = make_adapted(tmp_path, **settings).double()
    examples = token_examples(4)
    model = load_model(tmp_path / "adapter").double()
    torch.testing.assert_close(
        outputs_of(model, examples), outputs_of(adapted, examples), rtol=1e-9, atol=1e-11
    )
    objective = TransformerObjective(model, "adapter")
    by_short_name = {
        name.removeprefix("base_model.model.").replace("modules_to_save.default.", ""): name
        for name, _ in adapted.named_parameters()
    }
    names = [by_short_name[name] for name in objective.space.names]
    assert set(names) == {n for n, p in adapted.named_parameters() if p.requires_grad}
    expected = reference.gradients(text_problem(adapted, tuple(names), examples))
    actual = compute_loss_gradients(Gradients(objective), examples)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


def test_the_adapter_is_selected_as_a_whole_by_its_last_layers_or_by_patterns(tmp_path):
    make_adapted(tmp_path)
    model = load_model(tmp_path / "adapter")
    whole = select_attributed_names(model, "adapter")
    assert len(whole) == 3 * 4 + 2
    assert select_attributed_names(model, "all") == whole
    last = select_attributed_names(model, "last:1")
    assert set(last) == {n for n in whole if "layer.2" in n or "classifier" in n}
    assert select_attributed_names(model, ["pooler"]) == [
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    ]
    with pytest.raises(InputError, match="model with a LoRA adapter"):
        TransformerObjective(make_base(tmp_path / "plain", "bert"), "adapter")


def test_a_peft_model_in_memory_is_attributed_and_stays_as_it_is(tmp_path):
    adapted, examples = make_adapted(tmp_path), token_examples(5)
    adapted.train()
    names = [name for name, _ in adapted.named_parameters()]
    objective = TransformerObjective(adapted, "adapter")
    loaded = TransformerObjective(load_model(tmp_path / "adapter"), "adapter")
    assert objective.space == loaded.space
    torch.testing.assert_close(predict(objective, examples), predict(loaded, examples))
    assert [name for name, _ in adapted.named_parameters()] == names
    assert adapted.training


def test_merged_disabled_and_several_adapters_in_memory_are_refused(tmp_path):
    adapted = make_adapted(tmp_path)
    adapted.merge_adapter()
    with pytest.raises(InputError, match="a merged one"):
        TransformerObjective(adapted, "adapter")
    adapted.unmerge_adapter()
    with adapted.disable_adapter(), pytest.raises(InputError, match="disabled"):
        TransformerObjective(adapted, "adapter")
    adapted.add_adapter("other", peft.LoraConfig(task_type="SEQ_CLS", r=1))
    adapted.set_adapter("other")
    objective = TransformerObjective(adapted, "adapter")
    assert all("default" not in name for name in objective.space.names)
    assert objective.space.size == 3 * 2 * 16 + 3 * 8 + 3
    bare = make_adapted(tmp_path / "bare", task_type=None, target_modules=["query"])
    bare.add_adapter("other", peft.LoraConfig(r=1, target_modules=["query"]))
    bare.base_model.set_adapter(["default", "other"])
    with pytest.raises(InputError, match="one active adapter; got 2"):
        TransformerObjective(bare, "adapter")


def test_the_base_is_found_by_a_relative_path_from_the_adapter_or_the_working_directory(tmp_path):
    make_adapted(tmp_path)
    adapter, elsewhere = tmp_path / "adapter", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, directory in (("../base", elsewhere), ("base", tmp_path)):
        with changed_settings(adapter) as settings:
            settings["base_model_name_or_path"] = name
        with working_directory(directory):
            assert AdapterFolder(adapter).base_folder == tmp_path / "base"
    with working_directory(elsewhere), pytest.raises(InputError, match="not in the cache"):
        load_model(adapter)


def test_labels_are_those_next_to_the_adapter_or_else_of_the_base_or_numbers(tmp_path):
    make_adapted(tmp_path)
    adapter = tmp_path / "adapter"
    assert load_model(adapter, ["a", "b", "c"]).config.num_labels == 3
    with pytest.raises(InputError, match="2 output units"):
        load_model(adapter, ["a", "b"])
    names = {"id2label": {0: "x", 1: "y", 2: "z"}, "label2id": {"x": 0, "y": 1, "z": 2}}
    make_base(tmp_path / "base", "bert", **names)
    with pytest.raises(InputError, match="order of the model's output units"):
        load_model(adapter, ["y", "x", "z"])
    two = {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}}
    make_base(tmp_path / "base", "bert", **two)  # a head for other labels, which is replaced
    model = load_model(adapter, ["y", "x", "z"])
    assert model.config.id2label[2] == "LABEL_2"


def test_the_encoder_of_an_adapter_has_its_matrices(tmp_path):
    adapted, examples = make_adapted(tmp_path), token_examples(3)
    encoder = load_encoder(tmp_path / "adapter")
    for tokens in examples.tokens:
        with torch.no_grad():
            expected = adapted.base_model.model.bert(input_ids=tokens[None])[0]
            actual = encoder(input_ids=tokens[None])[0]
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_adapter_is_read_by_peft_and_keeps_its_labels(tmp_path, family):
    adapted, examples = make_adapted(tmp_path, family), token_examples(4)
    model = load_model(tmp_path / "adapter")
    model.config.id2label = {0: "x", 1: "y", 2: "z"}
    save_adapter(model, tmp_path / "saved")
    adapter = get_adapter(model)
    assert adapter is not None
    assert set(load_file(tmp_path / "saved" / WEIGHTS)) == set(adapter.saved_names.values())
    again = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        str(tmp_path / "saved"), num_labels=3
    )
    expected = outputs_of(adapted, examples)
    torch.testing.assert_close(outputs_of(again.eval(), examples), expected, rtol=1e-4, atol=1e-5)
    assert load_model(tmp_path / "saved").config.id2label == {0: "x", 1: "y", 2: "z"}
