"""A truncation that changes outputs is undone, and the full model is used."""

import pytest
import torch
from cases import token_examples, transformer
from torch import nn
from transformers import AlbertConfig, AutoModelForSequenceClassification, T5Config, XLMConfig

from fastif import InputError, TextExamples, TransformerObjective, predict
from fastif.models.hidden_layout import HiddenLayout
from tests.fastif.models.rows_alone import check_close, predict_alone


class Late(nn.Module):
    """Layer that also uses the output of the first layer."""

    def __init__(self, layer: nn.Module, first: nn.Module) -> None:
        super().__init__()
        self.layer, self.seen = layer, []
        first.register_forward_hook(self.note)

    def note(self, *given: object) -> None:
        output = given[-1]
        self.seen[:] = [output[0] if isinstance(output, tuple) else output]

    def forward(self, *args, **kwargs):
        hidden = self.layer(*args, **kwargs)
        return hidden + self.seen[0] * (self.seen[0].shape == hidden.shape)


def test_a_cut_that_changes_outputs_is_undone_and_reported():
    model, rows = transformer("bert"), token_examples(5)
    layers = model.bert.encoder.layer
    layers[2] = Late(layers[2], layers[0])
    objective = TransformerObjective(model, "last:1")
    assert objective.num_frozen_layers == 0
    assert "without them the outputs are others" in objective.cut_note
    assert objective.cut_note in objective.notes
    check_close(predict(objective, rows, 5)[0], predict_alone(model, rows))


def _end(rows: TextExamples) -> TextExamples:
    tokens = [torch.cat([row, torch.tensor([1])]) for row in rows.tokens]
    return TextExamples(tokens, None, rows.labels, rows.truncated, 0)


def _check_cut(model, attributed, count, rows):
    objective = TransformerObjective(model.double().eval(), attributed)
    assert (objective.num_frozen_layers, objective.cut_note) == (count, None)
    check_close(predict(objective, rows, 4)[0], predict_alone(model, rows))
    return objective


def test_a_position_bias_of_the_first_layer_is_computed_again():
    """T5 makes it in the first layer, and all others read it."""
    sizes = {"vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2}
    torch.manual_seed(0)
    for layers in (3, 4):
        config = T5Config(**sizes, num_layers=layers, num_labels=3, decoder_start_token_id=0)
        model = AutoModelForSequenceClassification.from_config(config)
        for weight in model.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
        objective = _check_cut(model, "last:1", layers - 1, _end(token_examples(5)))
        assert len(objective._cut.layout.shared) == 1


def test_a_position_bias_of_the_only_frozen_layer_leaves_nothing_to_cut():
    sizes = {"vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2}
    config = T5Config(**sizes, num_layers=2, num_labels=3, decoder_start_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config).double().eval()
    objective = TransformerObjective(model, "last:1")
    assert objective.num_frozen_layers == 0
    assert "the next layer also reads a tensor of shape [1, 2, 8, 8]" in objective.cut_note


def test_layers_that_share_weights_are_frozen_below_the_head():
    config = AlbertConfig(
        vocab_size=40,
        embedding_size=8,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=12,
        num_labels=3,
        initializer_range=0.4,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    _check_cut(model, ["pooler", "classifier"], 3, token_examples(5))
    with pytest.raises(InputError, match=r"3 layers that share .*albert\.pooler"):
        TransformerObjective(model, "last:1")
    config.num_hidden_groups = 2
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    _check_cut(model, ["groups.1", "classifier"], 2, token_examples(5))
    assert TransformerObjective(model, "all").cut_note is None


def test_parts_of_a_layer_in_parallel_lists_are_one_layer():
    config = XLMConfig(vocab_size=40, emb_dim=8, n_layers=3, n_heads=2, num_labels=3, pad_index=0)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    for weight in model.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    rows = token_examples(5)
    objective = _check_cut(model, "last:1", 2, rows)
    layers = {n.removeprefix("transformer.").rsplit(".", 2)[0] for n in objective.space.names}
    assert {"attentions.2", "ffns.2"} <= {".".join(name.split(".")[:2]) for name in layers}
    assert not [name for name in objective.space.names if ".0." in name or ".1." in name]
    _check_cut(model, ["ffns.2"], 2, rows)
    _check_cut(model, ["summary"], 3, rows)


def test_an_injected_state_is_not_changed_in_place():
    """XLM sets padding to zero in place."""
    hidden = torch.ones(1, 3, 2)
    layout = HiddenLayout((0,), (0, 1, 2), (2,))
    layout.split(hidden, None)[0].mul_(0)
    assert hidden.eq(1).all()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 8, 5), (0, 1, 2)),
        ((8, 4, 5), (1, 0, 2)),
        ((4, 5, 8), (0, 2, 1)),
        ((4, 2, 5), (0, 1, 2)),
    ],
)
def test_hidden_states_are_restored_in_the_order_of_the_model(shape, axes):
    tokens, state = torch.zeros(4, 8), torch.randn(shape)
    layout = HiddenLayout.find([state], [0], tokens)
    assert (layout.axes, layout.widths) == (axes, (5,))
    joined = layout.join([state], 8)
    assert joined.shape == (4, 8, 5)
    torch.testing.assert_close(layout.split(joined, state)[0], state)


def test_states_without_an_axis_of_rows_have_no_layout():
    tokens = torch.zeros(4, 8)
    for leaves, places in (([torch.zeros(3, 8, 5)], [0]), ([torch.zeros(4, 8)], [0]), ([], [])):
        assert HiddenLayout.find(leaves, places, tokens) is None
    pair = [torch.zeros(4, 8, 5), torch.zeros(4, 7, 2)]
    assert HiddenLayout.find(pair, [0, 1], tokens) is None


def test_frozen_layers_are_cut_below_a_patched_forward():
    """A patched forward runs the layer it was taken from, whose weights may change: it is run."""
    model, rows, calls = transformer("bert"), token_examples(4), []
    layer = model.bert.encoder.layer[1]
    plain = layer.forward
    layer.forward = lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs)
    objective = TransformerObjective(model, "last:1")
    assert objective.num_frozen_layers == 1
    batch = rows.take(torch.arange(4))
    prepared = objective.compute_prefix(batch)
    calls.clear()
    outputs = objective.outputs(objective.params, prepared)
    assert calls
    alone = [
        model(input_ids=row[mask == 1][None]).logits
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    torch.testing.assert_close(outputs, torch.cat(alone).to(outputs), rtol=1e-5, atol=1e-6)
