"""LoRA adapters on bases in 4 and 8 bits: dequantised, or refused without the packages."""

import peft
import pytest
import reference
import torch
from adapters import changed_settings
from cases import text_problem, token_examples
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    LlamaConfig,
)

from fastif import Gradients, TransformerObjective, load_model
from fastif.gradients.per_example import compute_loss_gradients

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra quantised")

FOUR = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}
SETTINGS = {
    "4 bits": {**FOUR, "bnb_4bit_quant_type": "nf4"},
    "4 bits, doubly quantised": {**FOUR, "bnb_4bit_use_double_quant": True},
    "8 bits": {"load_in_8bit": True},
}


def make_quantised(folder, settings, auto=AutoModelForSequenceClassification):
    """A quantised Llama and an adapter by PEFT, both saved; the PEFT model in memory."""
    config = LlamaConfig(
        vocab_size=40, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, num_labels=3, pad_token_id=0,
        initializer_range=0.1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        auto.from_config(config).save_pretrained(folder / "dense")
        options = {"device_map": "cpu", "dtype": torch.float32, "attn_implementation": "eager"}
        quantisation = BitsAndBytesConfig(**settings)
        model = auto.from_pretrained(folder / "dense", quantization_config=quantisation, **options)
        model.save_pretrained(folder / "base")
        model = AutoModelForSequenceClassification.from_pretrained(
            folder / "base", num_labels=3, **options
        )
        adapted = peft.get_peft_model(
            model, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"])
        )
        for tensor in adapted.parameters():
            if tensor.requires_grad:
                tensor.data += 0.1 * torch.randn_like(tensor)
    adapted.save_pretrained(folder / "adapter")
    return adapted.eval()


def outputs_of(model, examples) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=tokens[None]).logits for tokens in examples.tokens])


def relative_distance(model, other, examples) -> float:
    first, second = (outputs_of(m, examples).double() for m in (model, other))
    return float((first - second).norm() / second.norm())


def _read_dense(module) -> torch.Tensor:
    """Weights of a quantised layer by bitsandbytes' own function, or by the scales of its rows."""
    weight = module.weight
    if isinstance(module, bitsandbytes.nn.Linear4bit):
        return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
    return weight.data.double() * (weight.SCB.double()[:, None] / 127)


def make_dense(folder, adapted):
    """The PEFT model on a Llama without quantised layers, in double precision."""
    config = LlamaConfig.from_pretrained(folder / "dense", num_labels=3)
    dense = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    layers = dict(adapted.base_model.model.named_modules())
    for name, module in dense.named_modules():
        given = layers.get(name)
        given = getattr(given, "base_layer", given)
        if isinstance(given, (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)):
            module.weight.data = _read_dense(given)
        elif next(module.children(), None) is None and name != "score":
            module.load_state_dict(given.state_dict())
    return peft.PeftModel.from_pretrained(dense.double(), str(folder / "adapter")).double().eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_gradients_are_those_of_the_dequantised_base_in_double_precision(tmp_path, name):
    adapted, examples = make_quantised(tmp_path, SETTINGS[name]), token_examples(5)
    dense = make_dense(tmp_path, adapted)
    model = load_model(tmp_path / "adapter")
    objective = TransformerObjective(model, "adapter")
    assert objective.notes[0].startswith(
        f"the layers of its base in {name[0]} bits are dequantised"
    )
    torch.testing.assert_close(
        outputs_of(model, examples).double(), outputs_of(dense, examples), rtol=1e-4, atol=1e-5
    )
    # On a CPU bitsandbytes multiplies in 16 bits, and in 8 bits it rounds activations too.
    assert relative_distance(model, adapted, examples) < 0.03
    names = [n for n, _ in dense.named_parameters() if "lora_" in n or "modules_to_save" in n]
    for parameter in dense.parameters():
        parameter.requires_grad_(True)
    expected = reference.gradients(text_problem(dense, tuple(names), examples))
    actual = compute_loss_gradients(Gradients(objective), examples)
    assert float((actual - expected).norm() / expected.norm()) < 1e-4


def test_a_quantised_language_model_is_a_base_of_a_classifier(tmp_path):
    """Most bases in 4 bits are language models, whose head for labels is the adapter's."""
    adapted = make_quantised(tmp_path, SETTINGS["4 bits"], AutoModelForCausalLM)
    examples = token_examples(4)
    model = load_model(tmp_path / "adapter")
    torch.testing.assert_close(
        outputs_of(model, examples).double(),
        outputs_of(make_dense(tmp_path, adapted), examples),
        rtol=1e-4,
        atol=1e-5,
    )
    near = relative_distance(model, adapted, examples)
    with changed_settings(tmp_path / "adapter") as settings:
        settings["base_model_name_or_path"] = str(tmp_path / "dense")
    assert 5 * near < relative_distance(load_model(tmp_path / "adapter"), adapted, examples)
