"""Properties of a checkpoint other than its weights: precision, labels, problem type."""

import json

import pytest
import torch
from cases import text_problem, token_examples, transformer
from safetensors.torch import load_file, save_file
from torch import nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    CrossEntropy,
    Dual,
    GaussNewton,
    InputError,
    SquaredError,
    TransformerObjective,
    load_model,
    predict,
)
from fastif.models.label_names import find_misplaced_labels
from fastif.models.pretrained import load_base, load_encoder

# Precision.

TYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "mixed": None,
}


def _save_model(folder, dtype: torch.dtype | None, **changes):
    """Return a saved model with weights of this type; of two types if None."""
    model = transformer("bert", torch.float32, **changes)
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    for index, name in enumerate(weights):
        kind = dtype or (torch.float32, torch.bfloat16)[index % 2]
        weights[name] = weights[name].to(kind)
    save_file(weights, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"dtype": str(dtype or torch.bfloat16).removeprefix("torch.")})
    )
    return folder, {name: weight.double() for name, weight in weights.items()}


@pytest.mark.parametrize("name", TYPES)
def test_weights_of_all_types_are_converted_to_single_precision_and_reported(tmp_path, name):
    folder, weights = _save_model(tmp_path, TYPES[name])
    loaded = load_model(folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    truth = transformer("bert")
    truth.load_state_dict(weights)
    examples = token_examples(6)
    problem = text_problem(truth, (), examples)
    expected = torch.stack([truth(**given).logits[0] for given in problem.inputs]).detach()
    objective = TransformerObjective(loaded, "last:1")
    actual = predict(objective, examples)[0].double()
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    note = objective.notes[0]
    assert ("bfloat16" if name == "mixed" else name) in note
    assert note.endswith("converted to float32")
    operator = GaussNewton(objective, examples).with_damping(0.1)
    Attributor(objective, examples, operator, Dual())(examples, torch.arange(2))
    assert {p.dtype for p in load_encoder(folder).parameters()} == {torch.float32}
    assert {p.dtype for p in load_base(folder, ["a", "b"]).parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_model_in_memory_keeps_its_type_and_its_copy_is_in_single_precision_at_least(dtype):
    model = transformer("bert").to(dtype)
    objective = TransformerObjective(model, "last:1")
    assert {p.dtype for p in model.parameters()} == {dtype}
    wanted = dtype if dtype.itemsize > 2 else torch.float32
    assert {p.dtype for p in objective.params.values()} == {wanted}
    assert bool(objective.notes) is (dtype.itemsize == 2)
    as_it_is = TransformerObjective(model, "last:1", half=True)
    assert {p.dtype for p in as_it_is.params.values()} == {dtype}


def test_a_model_of_several_types_is_converted_to_the_widest():
    model = transformer("bert", torch.float32)
    model.classifier.half()
    objective = TransformerObjective(model, "all")
    assert {p.dtype for p in objective.params.values()} == {torch.float32}
    assert "float16 and float32" in objective.notes[0]
    predict(objective, token_examples(3))


def test_quantised_weights_are_refused():
    model = transformer("bert", torch.float32)
    head = model.classifier
    head.weight = nn.Parameter(head.weight.data.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(InputError, match=r"16, 32 or 64 bits; got float8_e4m3fn"):
        TransformerObjective(model, "last:1")
    head.weight = nn.Parameter(torch.zeros(3, 8, dtype=torch.int8), requires_grad=False)
    with pytest.raises(InputError, match=r"of floating point.*classifier\.weight"):
        TransformerObjective(model, "last:1")


# Problem type and labels.


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["neg", "pos"], ["NEG", "POS"], []),
        (["neg", "pos"], ["POS", "NEG"], ["neg", "pos"]),
        (["caf\u00e9", "tea"], ["tea", "cafe\u0301"], ["caf\u00e9", "tea"]),
        (["not_entailment", "entailment"], ["entailment", "not entailment"], None),
        (["neg", "neu", "pos"], ["Positive", "Neutral", "Negative"], ["neg", "pos"]),
        (["positive", "negative"], ["neg", "pos"], ["positive", "negative"]),
        (["pos", "odd"], ["other", "pos"], ["pos"]),
        (["0", "1"], ["LABEL_1", "LABEL_0"], ["0", "1"]),
        (["1", "0"], ["label_0", "label_1"], ["1", "0"]),
        (["1", "2", "3"], ["LABEL_0", "LABEL_1", "LABEL_2"], []),
        (["b", "a"], ["LABEL_0", "LABEL_1"], []),
        (["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1"], None),
        (["a", "A"], ["A", "a"], ["a", "A"]),
        (["entailment", "neutral"], ["ham", "spam"], []),
        (["STRASSE", "weg"], ["Weg", "Stra\u00dfe"], None),
    ],
)
def test_labels_in_another_order_are_detected_in_every_spelling(labels, names, expected):
    assert find_misplaced_labels(labels, names) == (labels if expected is None else expected)


def _save_with_config(folder, **config):
    transformer("bert", torch.float32).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


LABELS = ["neg", "neutral", "pos"]
NAMED = {"0": "POS", "1": "NEUTRAL", "2": "NEG"}


@pytest.mark.parametrize(
    ("config", "got"),
    [
        ({"id2label": NAMED, "label2id": {n: int(i) for i, n in NAMED.items()}}, "in the order"),
        (
            {
                "id2label": dict(enumerate(LABELS)),
                "label2id": {name: 2 - unit for unit, name in enumerate(LABELS)},
            },
            "that agree",
        ),
        (
            {
                "id2label": {unit: f"LABEL_{unit}" for unit in range(3)},
                "label2id": {name: 2 - unit for unit, name in enumerate(LABELS)},
            },
            "in the order",
        ),
        ({"problem_type": "multi_label_classification"}, "one label for each row"),
        ({"problem_type": "regression"}, "one label for each row"),
    ],
)
def test_a_configuration_that_contradicts_the_study_is_refused(tmp_path, config, got):
    with pytest.raises(InputError, match=got):
        load_model(_save_with_config(tmp_path, **config), LABELS)
    assert load_model(tmp_path).config.num_labels == 3, "without labels nothing is compared"


def test_equal_labels_in_another_spelling_are_accepted(tmp_path):
    load_model(_save_with_config(tmp_path, id2label={0: "NEG", 1: "Neutral", 2: "POS"}), LABELS)


def test_the_loss_belongs_to_the_problem_type_or_is_refused():
    for kind, loss in (
        ("multi_label_classification", BinaryCrossEntropy),
        ("regression", SquaredError),
        ("single_label_classification", CrossEntropy),
        (None, CrossEntropy),
    ):
        model = transformer("bert", problem_type=kind)
        assert type(TransformerObjective(model, "last:1").loss) is loss
        for other in {BinaryCrossEntropy, SquaredError, CrossEntropy} - {loss}:
            if kind is None:
                TransformerObjective(model, "last:1", other())
                continue
            with pytest.raises(InputError, match=kind):
                TransformerObjective(model, "last:1", other())
    single = transformer("bert", num_labels=1)
    assert type(TransformerObjective(single, "last:1").loss) is SquaredError
    with pytest.raises(InputError, match="regression"):
        TransformerObjective(single, "last:1", CrossEntropy())


# Outputs of a model.


class Wrapped(nn.Module):
    """Head with outputs in another form than plain logits."""

    def __init__(self, head: nn.Module, make) -> None:
        super().__init__()
        self.head, self.make = head, make

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.make(self.head(hidden))


@pytest.mark.parametrize("make", [tuple, dict, "bare"])
def test_logits_are_extracted_from_all_forms_of_outputs(make, monkeypatch):
    model, examples = transformer("bert"), token_examples(4)
    expected = predict(TransformerObjective(model, "last:1"), examples)[0]
    forward = type(model).forward

    def changed_forward(self, *args, **kwargs):
        logits = forward(self, *args, **kwargs).logits
        return {tuple: (logits, None), dict: {"logits": logits}, "bare": logits}[make]

    monkeypatch.setattr(type(model), "forward", changed_forward)
    for attributed in ("last:1", "all"):
        actual = predict(TransformerObjective(model, attributed), examples)[0]
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_a_configuration_with_tuple_outputs_is_supported():
    model, examples = transformer("bert"), token_examples(4)
    expected = predict(TransformerObjective(model, "last:1"), examples)[0]
    model.config.return_dict = False
    actual = predict(TransformerObjective(model, "last:1"), examples)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_one_number_for_each_text_is_a_column_and_other_shapes_are_refused():
    model, examples = transformer("bert", num_labels=1), token_examples(4)
    expected = predict(TransformerObjective(model, "last:1"), examples)[0]
    model.classifier = Wrapped(model.classifier, lambda logits: logits[:, 0])
    assert predict(TransformerObjective(model, "last:1"), examples)[0].shape == (4, 1)
    torch.testing.assert_close(predict(TransformerObjective(model, "all"), examples)[0], expected)
    model.classifier.make = lambda logits: logits[:, None, :]
    with pytest.raises(InputError, match=r"logits of shape.*got .*\[\d, 1, 1\]"):
        TransformerObjective(model, "last:1").verify_shortcuts(examples)
