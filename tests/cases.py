"""Small problems of every kind, each as the library sees it and as the reference sees it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import reference
import torch
from small_modules import Bare, Idle, Outside, Positions, Shared, Twice, Words
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from fastif import (
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    ModuleObjective,
    Objective,
    SmoothHinge,
    SquaredError,
    TensorExamples,
    TextExamples,
    TransformerObjective,
)

WEIGHTS = (0.4, 2.0, 1.1)
LOSSES = {
    "cross-entropy": (CrossEntropy(), reference.cross_entropy),
    "squared": (SquaredError(), reference.squared_error),
    "as-trained": (CrossEntropy(0.2, WEIGHTS), reference.smoothed_cross_entropy(0.2, WEIGHTS)),
    "binary": (BinaryCrossEntropy(), reference.binary_cross_entropy),
    "hinge": (SmoothHinge(0.5), reference.smooth_hinge(0.5)),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A model with its data, as the library and as the reference hold it.

    Attributes:
        objective: The problem as an objective of the library.
        train: Training examples.
        problem: The same model and data for the reference.
        uses_hooks: Whether the layers' inputs and output gradients are enough for exact gradients.
    """

    name: str
    objective: Objective
    train: Examples
    problem: reference.Problem
    uses_hooks: bool


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def _conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(2, 3),
    )


def _numbers(*shape: int) -> Callable[[torch.Generator, int], Tensor]:
    return lambda generator, n: torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def _words(generator: torch.Generator, n: int) -> Tensor:
    return torch.randint(6, (n, 4), generator=generator)


def _targets(loss: str, outputs: int, generator: torch.Generator, n: int) -> Tensor:
    if loss == "squared":
        return _numbers(outputs)(generator, n)
    if loss == "binary":
        return torch.randint(2, (n, outputs), generator=generator)
    return torch.randint(max(outputs, 2), (n,), generator=generator)


# name: module, inputs, outputs, loss, whether forward hooks are exact
MODULES = {
    "linear": (lambda: nn.Linear(3, 1), _numbers(3), 1, "squared", True),
    "two-outputs": (lambda: nn.Linear(3, 2), _numbers(3), 2, "squared", True),
    "softmax": (lambda: nn.Linear(4, 3), _numbers(4), 3, "cross-entropy", True),
    "as-trained": (_mlp, _numbers(3), 3, "as-trained", True),
    "multi-label": (_mlp, _numbers(3), 3, "binary", True),
    "hinge": (lambda: nn.Linear(3, 1), _numbers(3), 1, "hinge", True),
    "three-hinges": (_mlp, _numbers(3), 3, "hinge", True),
    "mlp": (_mlp, _numbers(3), 3, "cross-entropy", True),
    "conv": (_conv, _numbers(1, 5, 5), 3, "cross-entropy", True),
    "layernorm": (Positions, _numbers(5, 3), 2, "cross-entropy", True),
    "embedding": (Words, _words, 3, "cross-entropy", True),
    "twice": (Twice, _numbers(3), 2, "cross-entropy", True),
    "outside": (Outside, _numbers(3), 3, "cross-entropy", False),
    "shared-table": (Shared, _numbers(3), 2, "cross-entropy", False),
    "bare": (Bare, _numbers(3), 3, "cross-entropy", True),
    "idle": (Idle, _numbers(3), 2, "cross-entropy", True),
}
NAMES = (*MODULES, "bert")


@cache
def case(name: str, n: int = 9, batch_size: int | None = None) -> Case:
    """The case of this name with n examples in batches of this size, always the same."""
    if batch_size is not None:
        made = case(name, n)
        return replace(made, train=made.train.with_batch_size(batch_size))
    if name == "bert":
        return _bert_case(n)
    build, draw, outputs, loss, uses_hooks = MODULES[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build().double()
    generator = torch.Generator().manual_seed(2)
    inputs = draw(generator, n)
    targets = _targets(loss, outputs, generator, n)
    library_loss, reference_loss = LOSSES[loss]
    return Case(
        name,
        ModuleObjective(module, library_loss),
        TensorExamples(inputs, targets),
        reference.Problem(
            module,
            [name for name, _ in module.named_parameters()],
            list(inputs.split(1)),
            list(targets.split(1)),
            reference_loss,
        ),
        uses_hooks,
    )


CONFIGS: dict[str, tuple[type[PreTrainedConfig], dict]] = {
    "bert": (BertConfig, {}),
    "roberta": (RobertaConfig, {"pad_token_id": 0, "type_vocab_size": 1}),
    "distilbert": (DistilBertConfig, {"dim": 8, "hidden_dim": 12, "n_heads": 2, "n_layers": 3}),
    "deberta-v2": (DebertaV2Config, {"pooler_hidden_size": 8, "type_vocab_size": 2}),
    "deberta-v3": (
        DebertaV2Config,
        {
            "pooler_hidden_size": 8,
            "relative_attention": True,
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "deberta-conv": (
        DebertaV2Config,
        {
            "pooler_hidden_size": 8,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
    ),
    "electra": (ElectraConfig, {"embedding_size": 6}),
    "albert": (AlbertConfig, {"embedding_size": 6}),
}
FAMILIES = tuple(family for family in CONFIGS if family != "albert")
"""The families that are cut; ALBERT's layers share their weights, so it cannot be."""


def config(family: str, **changes: object) -> PreTrainedConfig:
    """A tiny configuration; weights are drawn wide, so that logits and gradients are not tiny."""
    kind, own = CONFIGS[family]
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3}
    sizes |= {"intermediate_size": 12}
    if family == "distilbert":
        sizes = {}
    common = {"vocab_size": 40, "max_position_embeddings": 24, "num_labels": 3}
    return kind(**{**common, **sizes, **own, "initializer_range": 0.4, **changes})


def transformer(family: str, dtype: torch.dtype = torch.float64, **changes) -> PreTrainedModel:
    """A tiny random classifier of this family, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_config(
            config(family, **changes), attn_implementation="eager"
        )
        for tensor in model.parameters():  # biases and norms start at 0 and 1: too special
            tensor.data += 0.1 * torch.randn_like(tensor)
    return model.to(dtype).eval()


def token_examples(n: int, segments: bool = False, classes: int = 3, seed: int = 4) -> TextExamples:
    """Random tokens of unequal lengths, 3 to 9."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 10, (n,), generator=generator).tolist()
    tokens = [torch.randint(5, 40, (length,), generator=generator) for length in lengths]
    kinds = [(torch.arange(length) >= 2).long() for length in lengths] if segments else None
    labels = torch.randint(classes, (n,), generator=generator)
    return TextExamples(tokens, kinds, labels, torch.zeros(n, dtype=torch.bool), 0)


def text_problem(
    model: PreTrainedModel, names: tuple[str, ...], examples: TextExamples
) -> reference.Problem:
    """The same as the reference sees it: one unpadded example at a time, the whole model."""
    inputs = []
    for i, tokens in enumerate(examples.tokens):
        example = {"input_ids": tokens[None]}
        if examples.segments is not None:
            example["token_type_ids"] = examples.segments[i][None]
        inputs.append(example)
    targets = list(examples.labels.split(1))
    return reference.Problem(model, names, inputs, targets, reference.cross_entropy)


def _bert_case(n: int) -> Case:
    model = transformer("bert", hidden_size=4, intermediate_size=2, num_hidden_layers=2)
    objective = TransformerObjective(model, "last:1")
    examples = token_examples(n)
    problem = text_problem(model, objective.space.names, examples)
    return Case("bert", objective, examples, problem, True)
