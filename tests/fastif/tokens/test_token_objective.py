"""Influence of sentences, spans and words, against dense autograd of one sentence at a time."""

import pytest
import torch
from tagged_cases import FAMILIES, LABELS, SENTENCES, Truth, make_model, make_tokenizer
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    Dual,
    Ekfac,
    GaussNewton,
    Gradients,
    InputError,
    all_ids,
    find_flip_set,
    predict,
)
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.data.encode_words import encode_words
from fastif.gradients.per_example import compute_loss_gradients
from fastif.losses import Entropy, TokenCrossEntropy
from fastif.models.prefix_cache import PrefixCache
from fastif.models.token_objective import TokenObjective

HEAD = ["classifier"]
DAMPING = 0.05


def make_rows(labelled="first"):
    return encode_words(make_tokenizer(), SENTENCES, LABELS, 32, labelled)


def make_truth(objective, family="bert", labelled="first"):
    return Truth(make_model(family), objective.space.names, labelled)


def score_all(attributor, queries):
    """Effects of every training example on every query, by position."""
    influences = attributor(queries, range(len(queries))).influences
    return torch.zeros_like(influences.removal_effect).scatter(
        1, influences.ids, influences.removal_effect
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_each_sentence_alone(family):
    attributed = ["classifier", "score"]
    attributed = [name for name in attributed if hasattr(make_model(family), name)]
    last = [] if family == "albert" else ["last:1"]  # its layers share their weights
    for choice in (attributed, *last, "all"):
        objective, rows = TokenObjective(make_model(family), choice), make_rows()
        truth = make_truth(objective, family)
        expected = torch.stack([truth.gradients(i).sum(0) for i in range(len(rows))])
        actual = compute_loss_gradients(Gradients(objective), rows)
        torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("labelled", ["first", "all"])
def test_the_losses_are_sums_over_the_words_for_every_batch_size_and_order(labelled):
    rows = make_rows(labelled)
    objective = TokenObjective(make_model(), "last:1")
    truth = make_truth(objective, labelled=labelled)
    expected = torch.stack([truth.losses(truth.row, i).sum() for i in range(len(rows))])
    for size in (1, 2, 6):
        for ids in (torch.arange(6), torch.arange(6).flip(0)):
            losses = predict(objective, rows.subset(ids), size)[1]
            torch.testing.assert_close(losses, expected[ids], rtol=1e-9, atol=1e-9)


def test_the_losses_are_those_of_transformers():
    """Transformers averages over all words of a batch: our mean with the mean count as divisor."""
    model, rows = make_model(), make_rows()
    batch = rows.take(all_ids(rows))
    slots = batch["slots"]
    labels = torch.where(slots >= 0, batch["labels"].gather(1, slots.clamp_min(0)), -100)
    expected = model(batch["input_ids"], batch["attention_mask"], labels=labels).loss
    loss = TokenCrossEntropy(divisor=rows.mean_label_count)
    objective = TokenObjective(model, "last:1", loss)
    torch.testing.assert_close(objective.losses(objective.params, batch).mean(), expected)


@pytest.mark.parametrize("attributed", [HEAD, "last:1"])
@pytest.mark.parametrize("labelled", ["first", "all"])
def test_the_curvature_is_the_dense_gauss_newton_matrix(attributed, labelled):
    rows, objective = make_rows(labelled), TokenObjective(make_model(), attributed)
    truth = make_truth(objective, labelled=labelled)
    expected = torch.stack([truth.gauss_newton(i) for i in range(len(rows))]).mean(0)
    for size in (2, 32):
        curvature = GaussNewton(objective, rows.with_batch_size(size))
        torch.testing.assert_close(curvature.to_dense(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("solver", [Direct(), Dual()])
def test_effects_are_the_dense_ones_and_add_up(solver):
    """Effects of words on words, added up, are those of sentences on sentences."""
    rows, objective = make_rows(), TokenObjective(make_model(), HEAD)
    truth = make_truth(objective)
    words = rows.split_words()
    sentences = torch.nn.functional.one_hot(words.sentence_ids).double()
    gradients = torch.cat([truth.gradients(i) for i in range(len(rows))])
    matrix = torch.stack([truth.gauss_newton(i) for i in range(len(rows))]).mean(0)
    matrix += DAMPING * torch.eye(len(matrix), dtype=torch.float64)
    by_word = gradients @ torch.linalg.solve(matrix, gradients.T) / len(rows)
    operator = GaussNewton(objective, rows).with_damping(DAMPING)
    attributor = Attributor(objective, rows, operator, solver, leverage="off")
    scores = score_all(attributor, rows)
    expected = sentences.T @ by_word @ sentences
    torch.testing.assert_close(scores, expected, rtol=1e-7, atol=1e-9)
    spans = rows.select_words([(2, [1, 2, 3]), (4, [0, 1])])
    by_span = score_all(attributor, spans)
    picked = torch.zeros(2, len(words), dtype=torch.float64)
    starts = [0, 4, 6, 13, 14]
    picked[0, starts[2] + 1 : starts[2] + 4] = 1
    picked[1, starts[4] : starts[4] + 2] = 1
    torch.testing.assert_close(by_span, picked @ by_word @ sentences, rtol=1e-7, atol=1e-9)
    # the same curvature and damping as a mean over words, so the effects are equal
    share = len(rows) / len(words)
    operator = GaussNewton(objective, words).with_damping(DAMPING * share)
    attributor = Attributor(objective, words, operator, solver, leverage="off")
    scores = score_all(attributor, words)
    torch.testing.assert_close(scores, by_word, rtol=1e-7, atol=1e-9)


def test_a_divisor_changes_the_units_of_training_alone():
    rows, model = make_rows(), make_model()
    plain, scaled = (TokenObjective(model, HEAD, TokenCrossEntropy(divisor=d)) for d in (1.0, 4.0))
    results = []
    for objective, damping in ((plain, DAMPING), (scaled, DAMPING / 4)):
        operator = GaussNewton(objective, rows).with_damping(damping)
        attributor = Attributor(objective, rows, operator, Direct(), leverage="off")
        results.append(score_all(attributor, rows))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_class_weights_and_smoothing_are_those_of_torch():
    loss = TokenCrossEntropy(CrossEntropy(0.1, (0.5, 2.0, 1.0)), divisor=2.0)
    outputs = torch.randn(2, 4 * 3, dtype=torch.float64)
    targets = torch.tensor([[0, 2, 1, -100], [1, -100, -100, -100]])
    plain = nn.CrossEntropyLoss(
        torch.tensor([0.5, 2.0, 1.0]).double(), reduction="none", label_smoothing=0.1
    )
    expected = plain(outputs.view(8, 3), targets.flatten()).view(2, 4).sum(1) / 2
    torch.testing.assert_close(loss(outputs, targets), expected)
    for row in range(2):
        hessian = torch.autograd.functional.hessian(
            lambda z, row=row: loss(z[None], targets[row : row + 1])[0], outputs[row]
        )
        factor = loss.sqrt_hessian(outputs, targets)[row]
        torch.testing.assert_close(factor @ factor.T, hessian)


def test_sampled_curvature_with_all_rows_is_the_whole():
    rows, objective = make_rows(), TokenObjective(make_model(), "last:1")
    curvature = GaussNewton(objective, rows)
    sampled = SampledGaussNewton.from_curvature(curvature, 10_000)
    torch.testing.assert_close(sampled.to_dense(), curvature.to_dense(), rtol=1e-6, atol=1e-9)
    assert sampled.count == 2 * sum(label >= 0 for labels in LABELS for label in labels)


def test_cached_hidden_states_give_the_same_gradients():
    rows, objective = make_rows(), TokenObjective(make_model(), "last:1")
    assert objective.num_frozen_layers == 1
    cached = PrefixCache(objective, rows, 10**9)
    expected = compute_loss_gradients(Gradients(objective), rows)
    torch.testing.assert_close(compute_loss_gradients(Gradients(objective), cached), expected)


def test_hooks_serve_sentences():
    rows, objective = make_rows(), TokenObjective(make_model(), "last:1")
    gradients = Gradients(objective)
    for tile in gradients.compute_sqrt_hessian_tiles(rows.take(all_ids(rows))):
        assert tile.gradients.shape == (len(rows), objective.space.size)
    assert gradients.per_example_backward is False


def test_padding_of_either_side_gives_the_same_outputs():
    rows, objective = make_rows(), TokenObjective(make_model(), "last:1")
    batch = rows.take(all_ids(rows))
    rows.side = "left"
    left = rows.take(all_ids(rows))
    assert not torch.equal(batch["slots"], left["slots"])
    outputs = [objective.outputs(objective.params, given) for given in (batch, left)]
    torch.testing.assert_close(*outputs)


def test_embeddings_are_means_over_the_labelled_words():
    rows, objective = make_rows(), TokenObjective(make_model(), "last:1")
    model, batch = make_model(), rows.take(torch.tensor([2]))
    hidden = model.bert(batch["input_ids"]).last_hidden_state[0]
    expected = hidden[batch["slots"][0] >= 0].mean(0)
    torch.testing.assert_close(objective.embed(rows.take(torch.tensor([0, 2])))[1], expected)


def test_other_models_and_losses_are_refused():
    config = BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=14)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(InputError, match="AutoModelForTokenClassification"):
        TokenObjective(model, "all").outputs(
            dict(model.named_parameters()), make_rows().take(torch.tensor([0]))
        )
    with pytest.raises(InputError, match="TokenCrossEntropy"):
        TokenObjective(make_model(), "all", CrossEntropy())
    with pytest.raises(InputError, match="TokenCrossEntropy"):
        TokenObjective(make_model(), "all", measure=Entropy())
    with pytest.raises(InputError, match="divisor"):
        TokenCrossEntropy(divisor=0)


def test_a_label_out_of_range_is_refused_with_its_sentence():
    labels = [*LABELS[:3], [3], *LABELS[4:]]
    rows = encode_words(make_tokenizer(), SENTENCES, labels, 32)
    with pytest.raises(InputError, match=r"from 0 to 2.*row 3"):
        GaussNewton(TokenObjective(make_model(), HEAD), rows)


def test_ekfac_has_the_trace_of_the_curvature():
    """The corrected eigenvalues are the curvature's diagonal in a basis, so their sum is exact."""
    rows, objective = make_rows(), TokenObjective(make_model(), HEAD)
    curvature = GaussNewton(objective, rows)
    ekfac = Ekfac.fit(curvature, labels="exact")
    torch.testing.assert_close(ekfac.to_dense().trace(), curvature.to_dense().trace())


def test_flip_sets_are_refused():
    rows, objective = make_rows(), TokenObjective(make_model(), HEAD)
    operator = GaussNewton(objective, rows).with_damping(DAMPING)
    attributor = Attributor(objective, rows, operator, Direct())
    with pytest.raises(InputError, match="one output for each class"):
        find_flip_set(attributor, rows, 0)
