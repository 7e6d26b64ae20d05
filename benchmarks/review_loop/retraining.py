"""Retraining of the study's head after so many verdicts, on outputs of its frozen encoder."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import fastif
from benchmarks.review_loop.features import make_head
from benchmarks.review_loop.study import BATCH, DECAY, EPOCHS, RATE, News

COUNTS = (0, 50, 100, 200, 300, 400, 600, 800, 1000, 1500)
"""Numbers of verdicts after which the head is trained."""
GIVEN, DROPPED = "given labels", "every wrong row dropped"
RIGHT = "every wrong row corrected"


def retrain(
    features: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, seeds: Iterable[int]
) -> Tensor:
    """Return the share of trainings that predict each test row correctly, [m].

    Args:
        features: Encoder outputs of the training rows, [n d].
        labels: Labels to train on, [n].
        test: Encoder outputs of the test rows, [m d].
        test_labels: Right labels of the test rows, [m].
        seeds: Seeds of the head and of the order of the rows.
    """
    hits = []
    for seed in seeds:
        objective = fastif.ModuleObjective(make_head(seed), fastif.CrossEntropy())
        recipe = fastif.TrainingConfig(EPOCHS, RATE, DECAY, BATCH, seed)
        objective.params = fastif.fit(objective, fastif.TensorExamples(features, labels), recipe)
        outputs = objective.outputs(objective.params, {"inputs": test, "labels": test_labels})
        hits.append((outputs.argmax(1) == test_labels).float())
    return torch.stack(hits).mean(0)


def predict_kept(head: nn.Module, path: Path, test: Tensor, test_labels: Tensor) -> Tensor:
    """Return whether the saved model of a run predicts each test row correctly, [m]."""
    weights = load_file(path)
    names = ("bert.pooler.dense", "classifier")
    for layer, name in zip((head[0], head[2]), names, strict=True):
        layer.load_state_dict({key: weights[f"{name}.{key}"] for key in ("weight", "bias")})
    with torch.no_grad():
        return (head(test).argmax(1) == test_labels).float()


def measure_baselines(features: Tensor, news: News, seeds: Iterable[int]) -> dict[str, Tensor]:
    """Return the share of correct trainings of each test row, by the labels trained on."""
    n, wrong = len(news.ids), news.wrong
    train, test = features[:n], features[n:]
    kept = ~wrong
    parts = {
        GIVEN: (train, news.given),
        DROPPED: (train[kept], news.given[kept]),
        RIGHT: (train, news.truth),
    }
    return {
        name: retrain(rows, labels, test, news.test_labels, seeds)
        for name, (rows, labels) in parts.items()
    }


def measure_orders(
    features: Tensor, news: News, orders: Mapping[str, Tensor], seeds: Iterable[int]
) -> dict[str, dict[int, Tensor]]:
    """Return the share of correct trainings of each test row, by order and number of verdicts."""
    n = len(news.ids)
    measured: dict[str, dict[int, Tensor]] = {}
    for name, order in orders.items():
        measured[name] = {}
        for count in COUNTS[1:]:
            if count > n:
                break
            labels = news.given.clone()
            labels[order[:count]] = news.truth[order[:count]]
            measured[name][count] = retrain(
                features[:n], labels, features[n:], news.test_labels, seeds
            )
        print(name, {c: f"{float(hits.mean()):.4f}" for c, hits in measured[name].items()})
    return measured
