"""A tiny study of tagged sentences, and its truth: one unpadded sentence at a time, by autograd."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import tiny
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import BertConfig, BertForTokenClassification, BertModel, BertTokenizerFast

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
PEOPLE, PLACES = ["anna", "bob", "carla"], ["paris", "rome", "new"]
OTHERS = ["runs", "to", "home", "the", "sees", "annas"]
PIECES = "[PAD] [UNK] [CLS] [SEP] ann ##a ##s bob car ##la paris rome new runs to home the sees"
HEAD, LAST = ("classifier.",), ("bert.encoder.layer.1.", "classifier.")
MAX_LENGTH = 16
STUDY: dict[str, Any] = {
    "top": {"target": "tags", "labels": TAGS},
    "model": {"max_length": MAX_LENGTH},
    "train": {"table": "train.parquet", "text": "tokens", "label": "tags"},
    "queries": {"table": "queries.parquet", "text": "tokens", "label": "tags"},
    "parameters": {"attributed": ["^classifier"]},
    "candidates": {"kind": "full", "keep": 40, "totals": True},
    "solver": {"kind": "direct"},
    "certificate": {"rows": 30},
}
ROWS, QUERIES = 20, 4


def make(folder: Path, rows: int = ROWS) -> None:
    """Tables of tagged sentences, some of them wrong, and a model that was trained on them."""
    folder.mkdir(parents=True)
    write_rows(folder / "train.parquet", _draw(rows, "train", 0))
    write_rows(folder / "queries.parquet", _draw(QUERIES, "query", 1))
    _write_model(folder)


def write_study(folder: Path, name: str = "study.toml", **changes: dict | None) -> Path:
    """Write the study, with changes of its sections."""
    merged: dict[str, Any] = {**STUDY}
    for section, keys in changes.items():
        is_whole = section in (*tiny.REPLACED, "loss") or keys is None
        merged[section] = keys if is_whole else {**STUDY.get(section, {}), **(keys or {})}
    return tiny.write_study(folder, name, **merged)


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write a table of sentences."""
    pl.DataFrame(rows).write_parquet(path)


def read_rows(folder: Path, name: str) -> list[dict]:
    """The rows of a table."""
    return pl.read_parquet(folder / f"{name}.parquet").to_dicts()


def _draw(count: int, prefix: str, seed: int) -> list[dict]:
    draw, rows = random.Random(seed), []
    while len(rows) < count:
        words, tags = [], []
        for _ in range(draw.randint(2, 6)):
            kind = draw.choice(["PER", "LOC", "O", "O"])
            names = {"PER": PEOPLE, "LOC": PLACES, "O": OTHERS}[kind]
            span = [draw.choice(names) for _ in range(draw.choice([1, 1, 2]))]
            kind = draw.choice(["PER", "LOC", "O"]) if draw.random() < 0.1 else kind
            words += span
            tags += ["O"] * len(span) if kind == "O" else [f"B-{kind}", *[f"I-{kind}"] * 9]
            tags = tags[: len(words)]
        if words not in [row["tokens"] for row in rows]:
            kinds = draw.choice(["news", "[b]post[/b]"])
            name = f"{prefix}-{len(rows)}"
            rows.append({"id": name, "tokens": words, "tags": tags, "kind": kinds})
    return rows


def make_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab={piece: place for place, piece in enumerate(PIECES.split())})


def _write_model(folder: Path) -> None:
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForTokenClassification(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=8,
                max_position_embeddings=32,
                initializer_range=0.4,
                id2label=dict(enumerate(TAGS)),
                label2id={tag: place for place, tag in enumerate(TAGS)},
            )
        )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    BertModel.from_pretrained(folder / "model").save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    rows = read_rows(folder, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        for row in rows:
            ids, places, tags = align(row["tokens"], row["tags"])
            logits = model(input_ids=ids).logits[0, places]
            (torch.nn.functional.cross_entropy(logits, tags, reduction="sum") / 90).backward()
        optimizer.step()
    model.save_pretrained(folder / "model")


def align(
    words: list[str], tags: list[str | None], subwords: str = "first", length: int = MAX_LENGTH
) -> tuple[Tensor, list[int], Tensor]:
    """Tokens of a sentence, the places of its tagged ones, and their tags."""
    tokenizer = make_tokenizer()
    ids, places, targets = [tokenizer.convert_tokens_to_ids("[CLS]")], [], []
    for word, tag in zip(words, tags, strict=True):
        pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
        for number, piece in enumerate(pieces):
            if len(ids) < length - 1:
                if tag is not None and (number == 0 or subwords == "all"):
                    places.append(len(ids))
                    targets.append(TAGS.index(tag))
                ids.append(piece)
    ids.append(tokenizer.convert_tokens_to_ids("[SEP]"))
    return torch.tensor([ids]), places, torch.tensor(targets)


class Truth:
    """Dense gradients and Gauss-Newton matrices in double precision, a sentence at a time."""

    def __init__(
        self,
        folder: Path,
        subwords: str = "first",
        length: int = MAX_LENGTH,
        attributed: tuple[str, ...] = HEAD,
    ) -> None:
        model = BertForTokenClassification.from_pretrained(
            folder / "model", attn_implementation="eager"
        )
        self.model, self.subwords, self.length = model.double().eval(), subwords, length
        params = dict(self.model.named_parameters())
        self.names = [name for name in params if name.startswith(attributed)]
        self.shapes = [params[name].shape for name in self.names]
        self.row = torch.cat([params[name].detach().flatten() for name in self.names])

    def logits(self, row: Tensor, words: list[str], tags: list) -> tuple[Tensor, Tensor]:
        """Logits of the tagged sub-words of a sentence, and their tags."""
        parts = row.split([shape.numel() for shape in self.shapes])
        values = zip(self.names, parts, self.shapes, strict=True)
        params = {name: part.view(shape) for name, part, shape in values}
        ids, places, targets = align(words, tags, self.subwords, self.length)
        output = functional_call(self.model, params, (), {"input_ids": ids})
        return output.logits[0, places], targets

    def loss(self, row: Tensor, words, tags, smoothing: float = 0.0, weights=None) -> Tensor:
        """Sum of the cross-entropies of the words, a class at a time."""
        logits, targets = self.logits(row, words, tags)
        log_chance = logits - torch.logsumexp(logits, 1, keepdim=True)
        shares = (1 - smoothing) * torch.eye(len(TAGS)).double()[targets] + smoothing / len(TAGS)
        factors = torch.ones(len(TAGS)) if weights is None else torch.tensor(weights)
        return -(factors.double() * shares * log_chance).sum()

    def gradients(self, rows: list[dict], **loss) -> Tensor:
        """Gradient of the loss of each sentence, [n p]."""
        return torch.stack(
            [
                torch.autograd.functional.jacobian(
                    lambda p, r=row: self.loss(p, r["tokens"], r["tags"], **loss), self.row
                )
                for row in rows
            ]
        )

    def gauss_newton(self, rows: list[dict], smoothing: float = 0.0, weights=None) -> Tensor:
        """Mean Gauss-Newton matrix of the sentences, [p p]."""
        total = torch.zeros(len(self.row), len(self.row)).double()
        for row in rows:
            jacobian = torch.autograd.functional.jacobian(
                lambda p, r=row: self.logits(p, r["tokens"], r["tags"])[0], self.row
            )
            logits, targets = self.logits(self.row, row["tokens"], row["tags"])
            for logit, target, rows_of in zip(logits.detach(), targets, jacobian, strict=True):
                total += rows_of.T @ self._hessian(logit, int(target), smoothing, weights) @ rows_of
        return total / len(rows)

    def _hessian(self, logit: Tensor, target: int, smoothing: float, weights) -> Tensor:
        factors = torch.ones(len(TAGS)) if weights is None else torch.tensor(weights)
        shares = torch.full((len(TAGS),), smoothing / len(TAGS)).double()
        shares[target] += 1 - smoothing

        def loss(z: Tensor) -> Tensor:
            return -(factors.double() * shares * (z - torch.logsumexp(z, 0))).sum()

        return torch.func.hessian(loss)(logit)

    def effects(self, queries: list[dict], train: list[dict], damping: float, **loss) -> Tensor:
        """Removal effects, [q n]: 1/n Q (H + λ)⁻¹ Gᵀ."""
        matrix = self.gauss_newton(train, **loss) + damping * torch.eye(len(self.row)).double()
        solved = torch.linalg.solve(matrix, self.gradients(train, **loss).T)
        return self.gradients(queries) @ solved / len(train)


def read_effects(store, run: str, shape: torch.Size) -> Tensor:
    """Stored removal effects as a matrix, [q n]."""
    scores = store.scan("scores", run).collect()
    effects = torch.full(shape, torch.nan).double()
    effects[scores["query"].to_list(), scores["train"].to_list()] = torch.tensor(
        scores["removal_effect"].to_list()
    ).double()
    return effects
