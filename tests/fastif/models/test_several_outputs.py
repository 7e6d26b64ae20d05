"""A module with several outputs is refused by name, unless one of them is chosen."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from fastif import (
    CrossEntropy,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.classifier_head import extract_logits

Pair = namedtuple("Pair", ["tone", "topic"])
FORMS = {
    "tuple": lambda tone, topic: (tone, topic),
    "list": lambda tone, topic: [tone, topic],
    "pair": Pair,
    "mapping": lambda tone, topic: {"logits": tone, "topic_logits": topic},
    "object": lambda tone, topic: SimpleNamespace(logits=tone, topic_logits=topic),
}
NAMES = {
    "tuple": 1,
    "list": 1,
    "pair": "topic",
    "mapping": "topic_logits",
    "object": "topic_logits",
}


class TwoHeads(nn.Module):
    """Body with two heads, that returns both outputs in one of several forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.form = nn.Linear(3, 4), form
        self.tone, self.topic = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> object:
        """Return the outputs of both heads."""
        hidden = torch.tanh(self.body(inputs))
        return FORMS[self.form](self.tone(hidden), self.topic(hidden))


class OneHead(TwoHeads):
    """The same module with the output of the second head alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output of the second head."""
        return self.topic(torch.tanh(self.body(inputs)))


def make_rows() -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    return TensorExamples(torch.randn(9, 3, generator=generator), torch.arange(9) % 3)


@pytest.mark.parametrize("form", FORMS)
def test_several_outputs_are_refused_with_their_names(form):
    rows = make_rows()
    objective = ModuleObjective(TwoHeads(form), CrossEntropy())
    with pytest.raises(InputError) as caught:
        GaussNewton(objective, rows)
    message = str(caught.value)
    assert "output=" in message
    assert "of 2" in message or "logits, topic_logits" in message
    assert objective.notes == ()


@pytest.mark.parametrize("form", FORMS)
def test_a_chosen_output_has_the_gradients_of_its_head_alone(form):
    rows = make_rows()
    objective = ModuleObjective(TwoHeads(form), CrossEntropy(), output=NAMES[form])
    alone = ModuleObjective(OneHead(form), CrossEntropy())
    actual = compute_loss_gradients(Gradients(objective), rows, torch.arange(9))
    expected = compute_loss_gradients(Gradients(alone), rows, torch.arange(9))
    torch.testing.assert_close(actual, expected)
    curvature = GaussNewton(objective, rows).to_dense()
    torch.testing.assert_close(curvature, GaussNewton(alone, rows).to_dense())
    unused = [objective.space.slices[objective.space.names.index(n)] for n in ("tone.weight",)]
    assert not actual[:, unused[0]].any()
    assert "neither gradients nor curvature" in " ".join(objective.notes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chosen", [2, "other"])
def test_an_output_that_is_not_there_is_refused(form, chosen):
    objective = ModuleObjective(TwoHeads(form), CrossEntropy(), output=chosen)
    with pytest.raises(InputError, match=f"an output {chosen!r}"):
        GaussNewton(objective, make_rows())


def test_an_output_of_another_shape_is_refused():
    logits = torch.zeros(2, 5, 3)
    for output, chosen in (((torch.zeros(2, 3), logits), 1), ({"tags": logits}, "tags")):
        with pytest.raises(InputError, match=r"shape \[2, 5, 3\]"):
            extract_logits(output, 2, "model", chosen)
    for chosen in (0, "logits"):
        with pytest.raises(InputError, match="an output"):
            extract_logits(torch.zeros(2, 3), 2, "model", chosen)


def test_one_head_with_other_tensors_is_as_before():
    logits = torch.zeros(2, 3)
    output = SequenceClassifierOutput(logits=logits, hidden_states=(torch.zeros(2, 4, 8),))  # type: ignore[arg-type]
    assert extract_logits(output, 2, "model") is logits
    assert extract_logits((logits, torch.zeros(2, 4, 8)), 2, "model") is logits
    assert extract_logits({"logits": logits, "embedding": torch.zeros(2, 8)}, 2, "model") is logits
    assert extract_logits({"logits": logits, "aux_logits": None}, 2, "model") is logits
