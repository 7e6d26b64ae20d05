"""A truncation that changes outputs is undone, and the full model is used."""

import torch
from cases import token_examples, transformer
from torch import nn
from transformers import AutoModelForSequenceClassification, T5Config

from fastif import TextExamples, TransformerObjective, predict
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


def test_a_family_that_passes_positions_between_layers_is_not_cut():
    config = T5Config(
        vocab_size=40,
        d_model=8,
        d_kv=4,
        d_ff=12,
        num_layers=3,
        num_heads=2,
        num_labels=3,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).double().eval()
    rows = token_examples(4)
    tokens = [torch.cat([row, torch.tensor([1])]) for row in rows.tokens]
    ended = TextExamples(tokens, None, rows.labels, rows.truncated, 0)
    objective = TransformerObjective(model, "last:1")
    assert (objective.num_frozen_layers, bool(objective.cut_note)) == (0, True)
    check_close(predict(objective, ended, 4)[0], predict_alone(model, ended))
