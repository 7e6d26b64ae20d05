"""Encoder families with cached frozen layers, compared with the full model; and tokenizers."""

import pytest
import reference
import torch
from cases import FAMILIES, text_problem, token_examples, transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from fastif import (
    CrossEntropy,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    TransformerObjective,
    all_ids,
    encode,
    load_tokenizer,
    predict,
)
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.prefix_cache import PrefixCache

CUTS = [(family, last) for family in FAMILIES for last in (1, 2)]


@torch.no_grad()
def _predict_alone(model, examples) -> torch.Tensor:
    """Return the logits of the full model, one unpadded example at a time."""
    problem = text_problem(model, [], examples)
    return torch.stack([model(**given).logits[0] for given in problem.inputs])


@pytest.mark.parametrize(("family", "last"), CUTS)
@pytest.mark.parametrize("segments", [False, True])
def test_the_cut_model_equals_the_full_one_for_every_padding(family, last, segments):
    segments = segments and family in ("bert", "deberta-v2", "deberta-conv", "electra")
    model, examples = transformer(family), token_examples(7, segments)
    objective = TransformerObjective(model, f"last:{last}")
    assert (
        objective.num_frozen_layers == 3 - last
    )  # otherwise the full model runs and nothing is tested
    expected = _predict_alone(model, examples)
    assert expected.std(0).min() > 1e-2  # the logits do depend on the text
    for size in (1, 2, 3, 7):
        actual, losses = predict(objective, examples, size)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
        truth = expected.logsumexp(1) - expected[torch.arange(7), examples.labels]
        torch.testing.assert_close(losses, truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prefix_ends_where_the_attributed_layers_begin(family):
    """Hidden states at the truncation point determine the outputs and have no gradients."""
    model, examples = transformer(family), token_examples(4)
    objective = TransformerObjective(model, "last:1")
    batch = examples.take(all_ids(examples))
    prefix = objective.compute_prefix(batch)
    assert set(prefix) == {*batch, "hidden"}  # the head may read the tokens
    assert prefix["hidden"].shape == (*batch["input_ids"].shape, 8)
    assert not prefix["hidden"].requires_grad
    actual = objective.outputs(objective.params, prefix)
    torch.testing.assert_close(actual, _predict_alone(model, examples), rtol=1e-9, atol=1e-9)
    assert objective.compute_prefix(prefix) is prefix


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hooks_are_used_if_the_family_allows_it(family, dtype):
    """The gradient of a key's bias is zero up to rounding; which must not count as a difference.

    DeBERTa with relative attention projects a table of positions that all examples share, so there
    each example needs a backward pass of its own.
    """
    examples = token_examples(6)
    for last in (1, 2):
        gradients = Gradients(TransformerObjective(transformer(family, dtype), f"last:{last}"))
        gradients.compute_loss_tile(examples.take(all_ids(examples)))
        assert gradients.per_example_backward is (family in ("deberta-v3", "deberta-conv"))


@pytest.mark.parametrize(("family", "last"), CUTS)
def test_gradients_of_the_cut_model_equal_those_of_the_full_one(family, last):
    model, examples = transformer(family), token_examples(5)
    objective = TransformerObjective(model, f"last:{last}")
    problem = text_problem(model, objective.space.names, examples)
    actual = compute_loss_gradients(Gradients(objective), examples.with_batch_size(3))
    torch.testing.assert_close(actual, reference.gradients(problem), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", [*FAMILIES, "albert"])
def test_gradients_in_all_parameters_equal_those_of_the_full_model(family):
    model, examples = transformer(family), token_examples(3)
    objective = TransformerObjective(model, "all")
    assert objective.num_frozen_layers == 0
    assert len(objective.space.names) == len(list(model.named_parameters()))
    problem = text_problem(model, objective.space.names, examples)
    actual = compute_loss_gradients(Gradients(objective), examples.with_batch_size(3))
    torch.testing.assert_close(actual, reference.gradients(problem), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_hessian_of_the_cut_model_equals_that_of_the_full_one(family):
    """A product with a random vector is the directional derivative of the full model's gradient."""
    model, examples = transformer(family), token_examples(3)
    objective = TransformerObjective(model, "last:1")
    problem = text_problem(model, objective.space.names, examples)
    along = torch.randn(
        1, objective.space.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    row = reference.flatten_params(problem).requires_grad_()
    mean = reference.losses(problem, row).mean()
    (gradient,) = torch.autograd.grad(mean, row, create_graph=True)
    (expected,) = torch.autograd.grad(gradient @ along[0], row)
    actual = Hessian(objective, examples.with_batch_size(2)).apply(along)
    torch.testing.assert_close(actual[0], expected, rtol=1e-8, atol=1e-9)


def test_a_model_that_cannot_be_cut_runs_in_full():
    model, examples = transformer("albert"), token_examples(5)
    objective = TransformerObjective(model, ["albert_layer_groups.*ffn", "classifier"])
    assert objective.num_frozen_layers == 0
    batch = examples.take(all_ids(examples))
    assert objective.compute_prefix(batch) is batch
    actual, _ = predict(objective, examples, 3)
    torch.testing.assert_close(actual, _predict_alone(model, examples), rtol=1e-9, atol=1e-9)
    problem = text_problem(model, objective.space.names, examples)
    rows = compute_loss_gradients(Gradients(objective), examples.with_batch_size(2))
    torch.testing.assert_close(rows, reference.gradients(problem), rtol=1e-8, atol=1e-10)
    with pytest.raises(InputError, match=r"layers with weights of their own.*share the weights"):
        TransformerObjective(model, "last:1")


# Cache of hidden states.


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [0, 1_200, 10**9])
def test_the_cache_changes_no_output_and_respects_its_budget(family, budget):
    model, examples = transformer(family), token_examples(9)
    objective = TransformerObjective(model, "last:1")
    cached = PrefixCache(objective, examples, budget, batch_size=2)
    held, count = cached.table.byte_count, int(cached.table.contains(torch.arange(9)).sum())
    assert {0: held == 0, 1_200: 0 < count < 9, 10**9: count == 9}[budget]
    longest = 9 * 8 * 8
    assert held <= budget + 2 * longest  # the batch that reaches the budget is cached
    expected = _predict_alone(model, examples)
    for size in (1, 3, 9):
        actual, _ = predict(objective, cached, size)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    ids = torch.tensor([8, 2, 2, 5])
    straight = compute_loss_gradients(Gradients(objective), examples.with_batch_size(4), ids)
    rows = compute_loss_gradients(Gradients(objective), cached.with_batch_size(4), ids)
    torch.testing.assert_close(rows, straight, rtol=1e-9, atol=1e-11)
    assert len(cached) == 9
    assert torch.equal(cached.lengths, examples.lengths)


def test_the_cache_runs_no_frozen_layer_again():
    model, examples = transformer("bert"), token_examples(6)
    objective = TransformerObjective(model, "last:1")
    cached = PrefixCache(objective, examples, 10**9)
    runs = []
    objective.full_model.bert.encoder.layer[0].register_forward_hook(lambda *_: runs.append(1))
    GaussNewton(objective, cached).apply(torch.ones(1, objective.space.size, dtype=torch.float64))
    assert not runs
    predict(objective, examples)
    assert runs


# Invariants and refusals.


def test_the_model_of_the_caller_is_unchanged():
    model = transformer("bert").train()
    model.classifier.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objective = TransformerObjective(model, "last:1")
    examples = token_examples(4)
    GaussNewton(objective, examples).apply(torch.ones(1, objective.space.size).double())
    Hessian(objective, examples).apply(torch.ones(1, objective.space.size).double())
    predict(objective, examples)
    objective.embed(examples.take(all_ids(examples)))
    assert model.training
    assert all(module.training for module in model.modules())
    frozen = [name for name, tensor in model.named_parameters() if not tensor.requires_grad]
    assert frozen == ["classifier.bias"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.grad is None for tensor in model.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_dropout_is_off_for_a_model_in_training_mode():
    model = transformer("bert", hidden_dropout_prob=0.5).train()
    objective = TransformerObjective(model, "last:1")
    examples = token_examples(3)
    torch.testing.assert_close(
        predict(objective, examples)[0], _predict_alone(model.eval(), examples)
    )


def test_losses_do_not_depend_on_other_rows():
    objective = TransformerObjective(transformer("deberta-conv"), "last:2")
    examples = token_examples(8)
    expected = predict(objective, examples, 1)[1]
    for _, batch in examples.batches(size=3):
        assert len(batch["labels"]) <= 3
    torch.testing.assert_close(predict(objective, examples, 8)[1], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embedding_is_the_input_of_the_last_linear_layer(family):
    model, examples = transformer(family), token_examples(5)
    objective = TransformerObjective(model, "last:1")
    embedding = objective.embed(examples.take(all_ids(examples)))
    assert embedding.shape == (5, 8)
    head = getattr(model.classifier, "out_proj", model.classifier)
    torch.testing.assert_close(
        embedding @ head.weight.T + head.bias, _predict_alone(model, examples), rtol=1e-9, atol=1e-9
    )


def test_nonfinite_weights_are_refused_by_name():
    model = transformer("bert")
    model.bert.encoder.layer[1].output.dense.bias.data[2] = torch.nan
    with pytest.raises(InputError, match=r"1 NaN or infinite values in bert\.encoder\.layer\.1"):
        TransformerObjective(model, "last:1")


def test_the_loss_can_be_another_than_plain_cross_entropy():
    model, examples = transformer("bert"), token_examples(4)
    objective = TransformerObjective(model, "last:1", CrossEntropy(label_smoothing=0.2))
    logs = -_predict_alone(model, examples).log_softmax(1)
    expected = 0.8 * logs[torch.arange(4), examples.labels] + 0.2 * logs.mean(1)
    torch.testing.assert_close(predict(objective, examples)[1], expected)


# Tokenizers.


def _words(count: int) -> dict[str, int]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {word: i for i, word in enumerate([*special, *(f"w{i}" for i in range(count - 5))])}


def test_the_tokenizer_of_the_model_is_accepted_and_another_refused(tmp_path):
    model = transformer("bert")
    for count, name in ((40, "own"), (35, "smaller"), (60, "larger")):
        inner = Tokenizer(models.WordLevel(_words(count), unk_token="[UNK]"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
        made.save_pretrained(tmp_path / name)
    tokenizer = load_tokenizer(tmp_path / "own", model)
    assert tokenizer("w0 w3")["input_ids"] == [5, 8]
    for name, count in (("smaller", 35), ("larger", 60)):
        with pytest.raises(InputError, match=f"vocabulary of the model, 40 entries; got {count}"):
            load_tokenizer(tmp_path / name, model)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"roberta"}))
def test_token_types_are_used_or_left_out_by_family(family):
    """DistilBERT has no token types. RoBERTa has one, and its tokenizers make no others."""
    tokenizer = BertTokenizerFast(vocab=_words(40))
    examples = encode(tokenizer, ["w1 w2", "w3"], ["w4", "w5 w6"], [0, 1], 16)
    assert examples.segments is not None
    model = transformer(family)
    for attributed in ("last:1", "all"):
        outputs, _ = predict(TransformerObjective(model, attributed), examples)
        torch.testing.assert_close(outputs, _predict_alone(model, examples), rtol=1e-9, atol=1e-9)
