"""Rows of different lengths in one batch equal each row alone and unpadded, in float64."""

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    FNetConfig,
    GPT2Config,
    LlamaConfig,
    OpenAIGPTConfig,
    PreTrainedTokenizerFast,
    XLNetConfig,
)

from fastif import (
    CrossEntropy,
    Gradients,
    InputError,
    TextExamples,
    TransformerObjective,
    all_ids,
    encode,
    predict,
)
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.padding import Padding, align_padding, iterate_rows, run_by_length
from fastif.models.prefix_cache import PrefixCache
from tests.fastif.models.rows_alone import check_close, predict_alone

SIZES = {"n_embd": 8, "n_layer": 3, "n_head": 2, "n_positions": 24}
MADE = {
    "llama": LlamaConfig(
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=12,
        pad_token_id=0,
    ),
    "llama-pads-by-the-end": LlamaConfig(
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=12,
        pad_token_id=39,
        eos_token_id=39,
    ),
    "gpt2": GPT2Config(**SIZES, pad_token_id=7),
    "gpt2-without-token": GPT2Config(**SIZES, pad_token_id=None),
    "openai-gpt": OpenAIGPTConfig(**SIZES, pad_token_id=3),
    "xlnet": XLNetConfig(d_model=8, n_layer=3, n_head=2, d_inner=12),
    "fnet": FNetConfig(
        hidden_size=8, num_hidden_layers=3, intermediate_size=12, max_position_embeddings=24
    ),
}
SIDE = {"xlnet": "left", "fnet": None, "gpt2-without-token": None}


def make_model(name: str):
    config = MADE[name]
    config.update({"vocab_size": 40, "num_labels": 3, "initializer_range": 0.4})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    return model.double().eval()


QUICK = {
    ("llama", "last:1"),
    ("gpt2-without-token", "last:1"),
    ("xlnet", "last:1"),
    ("fnet", "all"),
}


@pytest.mark.parametrize(
    ("name", "attributed"),
    [
        pytest.param(n, a, marks=[] if (n, a) in QUICK else [pytest.mark.long])
        for n in MADE
        for a in ("last:1", "all")
    ],
)
def test_outputs_and_gradients_equal_those_of_each_row_alone(name, attributed, tmp_path):
    model, examples = make_model(name), token_examples(5)
    expected = predict_alone(model, examples)
    objective = TransformerObjective(model, attributed)
    assert objective.padding.side == SIDE.get(name, "right")
    assert bool(objective.notes) is (objective.padding.side != "right")
    if attributed == "last:1":
        assert objective.num_frozen_layers == 2, objective.cut_note
    (tmp_path / "states").mkdir()
    groups = [torch.tensor([1, 0, 3]), torch.tensor([2])]
    file = None
    if objective.num_frozen_layers:
        HiddenStateFile.write(tmp_path / "states", objective, examples, groups)
        file = HiddenStateFile(tmp_path / "states")
    left = token_examples(5)
    left.side = "left"
    for rows in (
        examples,
        left,
        examples.with_equal_lengths(),
        PrefixCache(objective, examples, 10**9, 3),
        PrefixCache(objective, left, 0, 3, file=file),
    ):
        for size in (1, 5):
            check_close(predict(objective, rows, size)[0], expected)
    problem = text_problem(model, objective.space.names, examples)
    truth = reference.gradients(problem)
    assert truth.abs().max() > 1e-2
    for rows in (examples, PrefixCache(objective, left, 10**9, 3)):
        check_close(compute_loss_gradients(Gradients(objective), rows.with_batch_size(4)), truth)


def test_a_model_without_padding_token_runs_rows_of_equal_length_together():
    """Its head refuses a batch, because it was trained on single rows."""
    model, examples = make_model("gpt2-without-token"), token_examples(9)
    with pytest.raises(ValueError, match="no padding token"):
        model(**{k: v for k, v in examples.take(all_ids(examples)).items() if k != "labels"})
    objective = TransformerObjective(model, "last:1")
    assert model.config.pad_token_id is None, "the caller's model stays as it was"
    assert "equal length" in objective.notes[0]
    rows = examples.with_equal_lengths()
    widths = [batch["attention_mask"] for _, batch in rows.batches(size=4)]
    assert all(bool(mask.all()) for mask in widths)
    assert sum(map(len, widths)) == 9
    assert max(map(len, widths)) > 1, "some of them share a forward pass"


@pytest.mark.parametrize("name", ["llama", "gpt2-without-token", "xlnet", "fnet"])
def test_the_embedding_is_the_input_of_the_head_for_the_row_alone(name):
    model, examples = make_model(name), token_examples(6)
    objective = TransformerObjective(model, "last:1")
    embedding = objective.embed(examples.take(all_ids(examples)))
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    check_close(
        nn.functional.linear(embedding, head.weight, head.bias), predict_alone(model, examples)
    )


def test_padding_is_moved_to_the_side_of_the_model():
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])
    ids = torch.tensor([[5, 6, 7, 0], [9, 9, 5, 6], [1, 5, 6, 1], [5, 6, 7, 8]])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(4)}
    right = align_padding(batch, Padding("right", 2))["input_ids"].tolist()
    assert right == [[5, 6, 7, 2], [5, 6, 2, 2], [5, 6, 2, 2], [5, 6, 7, 8]]
    left = align_padding(batch, Padding("left", 2))
    assert left["input_ids"].tolist() == [[2, 5, 6, 7], [2, 2, 5, 6], [2, 2, 5, 6], [5, 6, 7, 8]]
    assert left["attention_mask"].sum(1).tolist() == [3, 2, 2, 4]
    assert [row["input_ids"][0].tolist() for row in iterate_rows(batch)] == [
        [5, 6, 7],
        [5, 6],
        [5, 6],
        [5, 6, 7, 8],
    ]
    sums = run_by_length(Padding(None, 2), batch, lambda part: part["input_ids"].sum(1))
    assert sums.tolist() == [18, 11, 11, 26]


def _tokenizer(**options) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w1"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="w1", **options)


@pytest.mark.parametrize("options", [{}, {"pad_token": "w9", "padding_side": "left"}])
@pytest.mark.parametrize("name", ["gpt2", "gpt2-without-token", "xlnet", "llama"])
def test_texts_are_padded_for_the_model_with_every_tokenizer(name, options):
    texts = ["w5 w6 w7 w8 w9 w10", "w11 w12 w13", "w4 w9"]
    model, rows = make_model(name), encode(_tokenizer(**options), texts, None, [0, 1, 2], 16)
    for attributed in ("last:1", "all"):
        objective = TransformerObjective(model, attributed)
        objective.verify_shortcuts(rows)
        check_close(predict(objective, rows, 3)[0], predict_alone(model, rows))


def test_token_types_are_left_out_if_the_model_has_one_kind():
    """A tokenizer of another family has two token types; RoBERTa's table has one row."""
    model, rows = transformer("roberta"), token_examples(5, segments=True)
    expected = predict_alone(model, rows)
    for attributed in ("last:1", "all"):
        check_close(predict(TransformerObjective(model, attributed), rows, 5)[0], expected)


class Bag(nn.Module):
    """Head with a mean over the batch, so that outputs depend on the other rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 3).double()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden - hidden.mean(0, keepdim=True) * (len(hidden) > 1))


def test_outputs_that_depend_on_rows_of_equal_length_are_refused():
    model = transformer("bert")
    model.classifier = Bag()
    with pytest.raises(InputError, match="not depend on the other rows of its batch"):
        TransformerObjective(model, "last:1")


def test_rows_longer_than_the_probe_are_tried_before_use():
    """A model that reads padding only after ten tokens, which a short probe cannot detect."""

    class Far(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids=None, **given):
            output = self.inner(input_ids=input_ids, **given)
            if input_ids.shape[1] > 10:
                return output + 0.1 * input_ids[:, 10:, None].double()[..., :1].mean(1, True)
            return output

    model = transformer("bert", vocab_size=40)
    model.bert.embeddings = Far(model.bert.embeddings)
    model.config.pad_token_id = 3
    generator = torch.Generator().manual_seed(0)
    tokens = [torch.randint(5, 40, (n,), generator=generator) for n in (12, 15, 4, 15)]
    rows = TextExamples(tokens, None, torch.tensor([0, 1, 2, 0]), torch.zeros(4).bool(), 3)
    for attributed in ("last:1", "all"):
        objective = TransformerObjective(model, attributed, CrossEntropy())
        assert objective.padding.side == "right"
        objective.verify_shortcuts(rows)
        assert objective.padding.side is None
        check_close(predict(objective, rows, 4)[0], predict_alone(model, rows))


def test_rows_that_the_model_cannot_read_are_refused():
    model = transformer("bert")
    tokens = [torch.arange(5, 9), torch.randint(5, 40, (30,))]
    rows = TextExamples(tokens, None, torch.tensor([0, 1]), torch.zeros(2).bool(), 0)
    with pytest.raises(InputError, match=r"outputs for each row.*max_length"):
        TransformerObjective(model, "all").verify_shortcuts(rows)
