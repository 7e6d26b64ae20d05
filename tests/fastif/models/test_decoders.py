"""Decoders: padding tokens of every kind, windows and grouped heads, against each row alone."""

import pytest
import reference
import torch
from cases import text_problem
from transformers import AutoModelForSequenceClassification

from benchmarks.families.tiny import tiny_config
from fastif import Gradients, TextExamples, TransformerObjective, predict
from fastif.gradients.layer_factors import is_linear
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.prefix_cache import PrefixCache
from tests.fastif.models.rows_alone import predict_alone

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "opt", "phi",
            "gpt_neox", "falcon", "bloom")  # fmt: skip
PADS = {"own": 1, "none": None, "disabled": -1, "end of text": 3}
QUICK = {("gpt2", "none"), ("llama", "end of text"), ("qwen3", "own")}
TOLERANCE = {"falcon": 1e-6}
"""Falcon computes its positions in single precision."""


def make_decoder(family: str, **changes: object):
    """Make a random decoder in double precision, with large weights."""
    config = tiny_config(family)
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
        for weight in model.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
    return model.double().eval()


def make_rows(special: int, side: str = "right") -> TextExamples:
    """Rows with a special token in the middle, at the end, twice at the end, and alone."""
    generator = torch.Generator().manual_seed(5)
    lengths = (9, 4, 6, 9, 3, 13, 1, 5)
    tokens = [torch.randint(8, 60, (length,), generator=generator) for length in lengths]
    tokens[1][2] = tokens[2][-1] = tokens[6][0] = special
    tokens[3][-2:] = special
    labels = torch.arange(len(lengths)) % 3
    return TextExamples(tokens, None, labels, torch.zeros(8).bool(), 0, side=side)


def check_rows_alone(model, rows, attributed="last:1", tolerance=1e-9) -> TransformerObjective:
    """Compare outputs and gradients with those of each row alone, by plain autograd."""
    expected = predict_alone(model, rows)
    objective = TransformerObjective(model, attributed)
    objective.verify_shortcuts(rows)
    assert objective.cut_note is None
    if objective.padding.side is None:
        rows = rows.with_equal_lengths()
    truth = reference.gradients(text_problem(model, objective.space.names, rows))
    for table in (rows, PrefixCache(objective, rows, 10**9, 3)):
        for size in (1, 8):
            gap = (predict(objective, table, size)[0] - expected).abs().max()
            assert gap < tolerance * expected.abs().max()
        gradients = compute_loss_gradients(Gradients(objective), table.with_batch_size(4))
        assert (gradients - truth).abs().max() < tolerance * truth.abs().max()
    return objective


@pytest.mark.parametrize(
    ("family", "pad"),
    [
        pytest.param(f, p, marks=[] if (f, p) in QUICK else [pytest.mark.long])
        for f in FAMILIES
        for p in PADS
    ],
)
def test_every_padding_token_gives_the_outputs_of_each_row_alone(family, pad):
    model = make_decoder(family, pad_token_id=PADS[pad])
    special = 1 if PADS[pad] in (None, -1) else PADS[pad]
    rows = make_rows(special, "left" if family in ("gpt2", "qwen3") else "right")
    objective = check_rows_alone(model, rows, tolerance=TOLERANCE.get(family, 1e-9))
    assert objective.num_frozen_layers == 2
    assert model.config.pad_token_id == PADS[pad], "the caller's model stays as it was"


def test_a_text_that_ends_with_the_padding_token_is_read_at_the_token_before():
    """The head of a decoder cannot distinguish it from padding, in its training neither."""
    model = make_decoder("llama", pad_token_id=3)
    ended, bare = torch.tensor([[9, 8, 3]]), torch.tensor([[9, 8]])
    torch.testing.assert_close(model(input_ids=ended).logits, model(input_ids=bare).logits)
    rows = TextExamples([ended[0], torch.arange(8, 14)], None, torch.tensor([0, 1]),
                        torch.zeros(2).bool(), 3)  # fmt: skip
    outputs = predict(TransformerObjective(model, "last:1"), rows, 2)[0]
    torch.testing.assert_close(outputs[0], model(input_ids=bare).logits[0])


def test_a_padding_token_outside_of_the_vocabulary_is_none():
    model = make_decoder("gpt2", pad_token_id=99)
    objective = check_rows_alone(model, make_rows(7))
    assert (objective.padding.token, objective.num_frozen_layers) == (-1, 2)


@pytest.mark.parametrize("window", [3, 64])
@pytest.mark.parametrize("family", ["mistral", pytest.param("gemma2", marks=pytest.mark.long)])
def test_windows_shorter_and_longer_than_texts(family, window):
    sliding = ["sliding_attention"] * 3
    changes = {"sliding_window": window, "num_key_value_heads": 1}
    if family == "gemma2":
        changes["layer_types"] = sliding
    model, rows = make_decoder(family, **changes), make_rows(1)
    check_rows_alone(model, rows)
    whole = make_decoder(family, **{**changes, "sliding_window": 10**4})
    gap = (predict_alone(whole, rows) - predict_alone(model, rows)).abs().max()
    assert bool(gap > 1e-3) is (window < 13), "the window matters exactly if a text is longer"


@pytest.mark.parametrize("family", ["gpt2", pytest.param("llama", marks=pytest.mark.long)])
def test_tied_embeddings_are_attributed_once(family):
    model = make_decoder(family, tie_word_embeddings=True, num_key_value_heads=1)
    objective = check_rows_alone(model, make_rows(1), "all")
    assert len(objective.space.names) == len(dict(model.named_parameters()))


def test_all_matrices_of_gpt2_have_a_closed_form():
    objective = TransformerObjective(make_decoder("gpt2"), "last:1")
    owners = {name.rpartition(".")[0] for name in objective.space.names}
    layers = [objective.module.get_submodule(name) for name in owners]
    assert sum(map(is_linear, layers)) == 5, "four of its last layer, and the head"


def test_padding_of_the_tokenizer_that_changes_outputs_is_noted():
    rows = make_rows(1)
    rows.padding = 1
    for family, side, token, is_noted in (
        ("gpt2", "right", 1, False),  # the model's own
        ("gpt2", "left", 1, True),  # positions count from the padding on
        ("gpt2", "right", 2, True),  # the head reads the last token of padding
    ):
        objective = TransformerObjective(make_decoder(family), "last:1")
        rows.side, rows.padding = side, token
        objective.compare_tokenizer_padding(rows)
        assert any("padded by the tokenizer" in note for note in objective.notes) is is_noted
