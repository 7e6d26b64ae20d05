"""Gradients by hooks at the objective's parameters, and of positions that a batch shares."""

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.gradients.route import get_route

SIZES = {"vocab_size": 20, "attn_implementation": "eager"}


class Power(nn.Module):
    """A layer without a closed form, whose gradient depends on its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight**2


def make_table() -> fastif.TensorExamples:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(6, 3, generator=generator), torch.arange(6) % 2
    return fastif.TensorExamples(inputs, labels).with_batch_size(4)


def compute_truth(objective: fastif.Objective, examples: fastif.Examples) -> Tensor:
    """The gradient of each row alone by a backward pass, with the parameters of the objective."""
    rows = []
    for i in range(len(examples)):
        batch = examples.take(torch.tensor([i]))
        params = {name: p.detach().requires_grad_() for name, p in objective.params.items()}
        loss = objective.loss(objective.outputs(params, batch), batch["labels"]).sum()
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        pairs = zip(grads, params.values(), strict=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
        )
    return torch.stack(rows)


@pytest.mark.parametrize("middle", [Power, lambda: nn.RMSNorm(3)])
def test_parameters_of_the_objective_are_used(middle):
    """Parameters that were fitted without the module: its own weights are the first ones."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), middle(), nn.Linear(3, 2))
    objective = fastif.ModuleObjective(module, fastif.CrossEntropy())
    objective.params = {name: p + torch.rand_like(p) for name, p in objective.params.items()}
    gradients = compute_loss_gradients(fastif.Gradients(objective), make_table())
    assert get_route(objective).per_example_backward is False
    torch.testing.assert_close(gradients, compute_truth(objective, make_table()))


@pytest.mark.parametrize("kind", ["BERT", "GPT-2"])
def test_shared_positions_need_no_backward_pass_for_each_row(kind):
    """Models that look positions up once for a batch have per-example gradients by hooks."""
    torch.manual_seed(0)
    if kind == "BERT":
        config = BertConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=12,
            max_position_embeddings=16,
            **SIZES,
        )
        model = BertForSequenceClassification(config)
    else:
        config = GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=16, pad_token_id=0, **SIZES)
        model = GPT2ForSequenceClassification(config)
    objective = fastif.TransformerObjective(model.eval(), "all")
    tokens = [torch.randint(1, 20, (n,)) for n in (3, 5, 4, 5, 5)]
    labels = torch.arange(5) % 2
    examples = fastif.TextExamples(tokens, None, labels, torch.zeros(5, dtype=torch.bool), 0)
    gradients = compute_loss_gradients(fastif.Gradients(objective), examples.with_batch_size(3))
    assert get_route(objective).reason == ""
    truth = compute_truth(objective, examples)
    torch.testing.assert_close(gradients, truth, rtol=1e-4, atol=1e-6)


class OwnPositions(nn.Module):
    """A model that uses the positions [1 t] of a batch in its own way."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.use = use
        self.words, self.positions = nn.Embedding(9, 3), nn.Embedding(5, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, words: Tensor) -> Tensor:
        shared, hidden = self.positions(torch.arange(words.shape[1])[None]), self.words(words)
        if self.use == "view":
            shared = shared.view(words.shape[1], 3)
        elif self.use == "first":
            hidden = hidden * shared[0]
        else:
            shared = shared.sum(0)
        return self.head(torch.tanh(hidden + shared).mean(1))


@pytest.mark.parametrize("use", ["view", "first", "sum"])
def test_positions_that_cannot_be_repeated_are_left_alone(use):
    """Such a model takes a backward pass for each row, and is not refused."""
    torch.manual_seed(0)
    objective = fastif.ModuleObjective(OwnPositions(use), fastif.CrossEntropy())
    words, labels = torch.randint(9, (6, 5)), torch.arange(6) % 2
    examples = fastif.TensorExamples(words, labels).with_batch_size(3)
    gradients = compute_loss_gradients(fastif.Gradients(objective), examples)
    torch.testing.assert_close(gradients, compute_truth(objective, examples))
