"""A decoder from its base to the report: GPT-2 with a tokenizer that has no padding token."""

import json

import pytest
import reference
import tiny
import torch
from command_line import run
from small_decoder import write_base
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

TRAINING = {
    "base": "base",
    "trainable": "all",
    "epochs": 2,
    "learning_rate": 0.01,
    "batch_size": 8,
    "weight_decay": 0.0,
    "seed": 0,
    "checkpoints": [],
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A study of a decoder that `fastif train` has made from its base."""
    folder = tmp_path_factory.mktemp("decoder")
    tiny._write_rows(folder / "train.csv", "train", tiny.TRAIN, seed=0)
    tiny._write_rows(folder / "queries.csv", "query", tiny.QUERIES, seed=1)
    write_base(folder / "base", [row["text"] for row in tiny.rows_of(folder / "train.csv")])
    tiny.write_study(
        folder,
        model={"max_length": 24},
        training=TRAINING,
        curvature={"leverage": "off"},
        candidates={"kind": "full"},
        mislabels={"encoder": "base"},
    )
    return folder


@pytest.mark.long
def test_a_decoder_from_its_base_to_the_report(decoder, prefect):
    code, out, err = run("train", decoder / "study.toml")
    assert code == 0, err + out
    config = json.loads((decoder / "model" / "config.json").read_text())
    assert config["architectures"] == ["GPT2ForSequenceClassification"]
    assert config.get("pad_token_id") is None, "as in its base"
    tables = [decoder / name for name in ("train.csv", "queries.csv", "model")]
    code, out, err = run("init", *tables, "--yes", "--no-forecast", "--out", decoder / "new.toml")
    assert code == 0, err + out
    code, out, err = run("doctor", "--study", decoder / "study.toml")
    assert code == 0, err + out
    assert "equal length" in out
    for command in ("audit", "report"):
        code, out, err = run(command, decoder / "study.toml")
        assert code == 0, err + out
    _check_effects(decoder)
    code, out, err = run("mislabels", decoder / "study.toml")
    assert code == 0, err + out


def _check_effects(folder) -> None:
    """Compare stored effects with a dense inverse, from the model itself in double precision."""
    store = open_existing_store(load_study(folder / "study.toml"))
    latest = store.find_latest()
    assert latest is not None
    scores = tiny.scores_by_id(store, latest.record.run)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "model", attn_implementation="eager"
    )
    model = model.double().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    last = ("transformer.h.2.", "score.")  # last:1; the final norm belongs to no layer
    weights = {n: p for n, p in model.named_parameters() if n.startswith(last)}
    rows = {}
    for name in ("train", "queries"):
        table = tiny.rows_of(folder / f"{name}.csv")
        tokens = [torch.tensor(tokenizer(row["text"])["input_ids"][:24]) for row in table]
        labels = [tiny.LABELS.index(row["label"]) for row in table]
        rows[name] = ([row["id"] for row in table], tokens, labels)
    gradients = {name: _differentiate(model, weights, *rows[name][1:]) for name in rows}
    matrix = _compute_gauss_newton(model, weights, rows["train"][1])
    truth = reference.removal_effects(gradients["queries"], gradients["train"], matrix, 0.01)
    query, train = (
        {key: i for i, key in enumerate(rows[name][0])} for name in ("queries", "train")
    )
    stored = torch.tensor(scores["removal_effect"].to_list(), dtype=torch.float64)
    expected = torch.stack(
        [
            truth[query[q], train[t]]
            for q, t in zip(scores["query_id"], scores["train_id"], strict=True)
        ]
    )
    assert len(stored) >= 12 * tiny.QUERIES
    assert float((stored - expected).abs().max()) < 2e-2 * float(expected.abs().max())


def _differentiate(model, weights, tokens, labels) -> torch.Tensor:
    rows = []
    for row, label in zip(tokens, labels, strict=True):
        loss = cross_entropy(model(input_ids=row[None]).logits, torch.tensor([label]))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


def _compute_gauss_newton(model, weights, tokens) -> torch.Tensor:
    size = sum(weight.numel() for weight in weights.values())
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for row in tokens:
        logits = model(input_ids=row[None]).logits[0]
        jacobian = torch.stack(
            [
                torch.cat(
                    [
                        g.flatten()
                        for g in torch.autograd.grad(
                            logit, list(weights.values()), retain_graph=True
                        )
                    ]
                )
                for logit in logits
            ]
        )
        shares = logits.detach().softmax(0)
        matrix = matrix + jacobian.T @ (shares.diag() - shares[:, None] * shares) @ jacobian
    return matrix / len(tokens)
