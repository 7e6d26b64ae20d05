"""Models with other outputs than their saved copies are refused; all others are left unchanged."""

import types

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import fastif
from tasks.notebook.models import save_model
from tasks.notebook.saved_copy import NOT_COMPARED


@pytest.fixture
def model(made):
    return AutoModelForSequenceClassification.from_pretrained(made / "model")


@pytest.fixture(scope="module")
def tokenizer(made):
    return AutoTokenizer.from_pretrained(made / "model")


def replace_activation(model):
    model.bert.pooler.activation = torch.nn.ReLU()


def add_hook(model):
    model.classifier.register_forward_hook(lambda layer, inputs, output: 1.1 * output)


def replace_method(model):
    def forward(self, *args, **keywords):
        output = type(self).forward(self, *args, **keywords)
        output.logits = output.logits / 2
        return output

    model.forward = types.MethodType(forward, model)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (replace_activation, "ReLU bert.pooler.activation"),
        (add_hook, "Linear classifier"),
        (replace_method, "BertForSequenceClassification"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_no_file_keeps_is_refused(model, tokenizer, tmp_path, change, name, dtype):
    change(model.to(dtype))
    with pytest.raises(fastif.InputError, match=rf"other outputs .*, first of {name}\. "):
        save_model(model, tokenizer, tmp_path / "model")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_precision_and_attention_are_no_difference(made, tokenizer, tmp_path, capsys, dtype):
    for attention in ("eager", "sdpa"):
        model = AutoModelForSequenceClassification.from_pretrained(
            made / "model", dtype=dtype, attn_implementation=attention
        )
        save_model(model, tokenizer, tmp_path / "model")
    assert NOT_COMPARED not in capsys.readouterr().err


def test_the_autocast_of_a_trainer_is_no_difference_and_is_left(model, tokenizer, tmp_path, capsys):
    # What accelerate does to the model of a Trainer that computes in mixed precision.
    model._original_forward = model.forward
    wrapped = torch.autocast("cpu", torch.bfloat16)(type(model).forward)
    model.forward = types.MethodType(wrapped, model)
    before = model.forward
    save_model(model, tokenizer, tmp_path / "model")
    assert model.forward is before
    assert NOT_COMPARED not in capsys.readouterr().err


def test_modes_of_modules_and_random_numbers_are_left(model, tokenizer, tmp_path):
    model.train()
    model.bert.encoder.layer[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    save_model(model, tokenizer, tmp_path / "model")
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(not module._forward_hooks for module in model.modules())


def test_a_model_that_reads_no_random_tokens_is_reported(model, tokenizer, tmp_path, capsys):
    def refuse(layer, args, keywords):
        raise ValueError

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    save_model(model, tokenizer, tmp_path / "model")
    assert NOT_COMPARED in capsys.readouterr().err
