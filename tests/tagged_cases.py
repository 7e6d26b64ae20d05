"""Tiny token classifiers with sentences of several lengths, and their truth by dense autograd."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.func import functional_call
from transformers import (
    AlbertConfig,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    PreTrainedConfig,
    RobertaConfig,
)
from transformers.models.bert import BertTokenizerFast

PIECES = "[PAD] [UNK] [CLS] [SEP] ann ##a ##e runs to paris ##ian home the ##s".split()  # noqa: SIM905
SENTENCES = [
    ["anna", "runs", "to", "paris"],
    ["annas", "home"],
    ["the", "parisian", "home", "runs", "annae", "to", "the"],
    ["paris"],
    ["anna", "anna", "runs", "home", "to", "annas", "paris", "parisian"],
    ["runs", "home"],
]
LABELS = [
    [1, 0, 0, 2],
    [1, 0],
    [0, 2, 0, 0, 1, 0, 0],
    [2],
    [1, 1, 0, 0, 0, 1, 2, 2],
    [0, -100],
]
NUM_CLASSES = 3
SIZE: dict[str, Any] = {
    "vocab_size": len(PIECES),
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 32,
    "num_labels": NUM_CLASSES,
    "pad_token_id": 0,
    "attn_implementation": "eager",
}
FAMILIES: dict[str, type[PreTrainedConfig]] = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "distilbert": DistilBertConfig,
    "deberta": DebertaV2Config,
    "electra": ElectraConfig,
    "albert": AlbertConfig,
    "gpt2": GPT2Config,
}


@cache
def make_tokenizer() -> BertTokenizerFast:
    """A WordPiece tokenizer that splits some of the words."""
    return BertTokenizerFast(vocab={piece: number for number, piece in enumerate(PIECES)})


def make_model(family: str = "bert", dtype: torch.dtype = torch.float64):
    """A random token classifier whose logits depend clearly on the words."""
    size: dict[str, Any] = (
        SIZE | {"embedding_size": 8} if family in ("electra", "albert") else dict(SIZE)
    )
    if family == "distilbert":
        size |= {"dim": 8, "n_heads": 2, "n_layers": 2, "hidden_dim": 8}
        size |= {"attention_dropout": 0.0}
        for name in ("hidden_size", "num_attention_heads", "num_hidden_layers"):
            size.pop(name)
    if family == "gpt2":
        size = {name: size[name] for name in ("vocab_size", "num_labels", "attn_implementation")}
        size |= {"n_embd": 8, "n_head": 2, "n_layer": 2, "n_positions": 32, "n_inner": 8}
        size |= {"pad_token_id": None}
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(FAMILIES[family](**size)).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.6 if "embed" in name else 0.3)
    return model


def align(words, labels, labelled="first"):
    """Token ids with [CLS] and [SEP] and the labels of sub-words, word by word."""
    tokenizer = make_tokenizer()
    ids, targets = [PIECES.index("[CLS]")], [-100]
    for word, label in zip(words, labels, strict=True):
        pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
        ids += pieces
        rest = label if labelled == "all" else -100
        targets += [label, *[rest] * (len(pieces) - 1)][: len(pieces)]
    return torch.tensor([[*ids, PIECES.index("[SEP]")]]), torch.tensor([*targets, -100])


class Truth:
    """Dense gradients, Hessians and effects of a model, one unpadded sentence at a time.

    Args:
        model: Token classifier in double precision.
        names: Attributed parameters, in the order of the objective.
        labelled: Sub-words that carry the label.
    """

    def __init__(self, model, names, labelled="first", sentences=SENTENCES, labels=LABELS):
        self.model, self.labelled = model, labelled
        self.sentences, self.labels = sentences, labels
        params = dict(model.named_parameters())
        self.names, self.shapes = list(names), [params[name].shape for name in names]
        self.row = torch.cat([params[name].detach().flatten() for name in names])

    def logits(self, row, index):
        """Logits of the labelled sub-words of one sentence, and their labels."""
        parts = row.split([shape.numel() for shape in self.shapes])
        values = zip(self.names, parts, self.shapes, strict=True)
        params = {name: part.view(shape) for name, part, shape in values}
        ids, targets = align(self.sentences[index], self.labels[index], self.labelled)
        output = functional_call(self.model, params, (), {"input_ids": ids}).logits[0]
        return output[targets >= 0], targets[targets >= 0]

    def losses(self, row, index):
        logits, targets = self.logits(row, index)
        return F.cross_entropy(logits, targets, reduction="none")

    def gradients(self, index):
        """Gradient of the loss of every labelled sub-word of a sentence, [k p]."""
        return torch.autograd.functional.jacobian(lambda row: self.losses(row, index), self.row)

    def gauss_newton(self, index):
        """Gauss-Newton matrix of the sum over the words of a sentence, [p p]."""
        jacobian = torch.autograd.functional.jacobian(
            lambda row: self.logits(row, index)[0], self.row
        )
        probabilities = self.logits(self.row, index)[0].softmax(1).detach()
        hessians = (
            torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None]
        )
        return torch.einsum("kcp,kcd,kdq->pq", jacobian, hessians, jacobian)
