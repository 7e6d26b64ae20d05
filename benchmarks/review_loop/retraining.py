"""Retraining of the study's head after so many verdicts, on outputs of its frozen encoder."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fastif
from benchmarks.review_loop.features import make_head
from benchmarks.review_loop.study import BATCH, DECAY, EPOCHS, RATE, News

COUNTS = (50, 100, 200, 300, 400, 600, 800, 1000, 1500)
"""Numbers of verdicts after which the head is trained."""
GIVEN, DROPPED = "given labels", "every wrong row dropped"
RIGHT = "every wrong row corrected"


class HeadTrainer:
    """Trains the head of the study on some labels, and tests it.

    Args:
        features: Encoder outputs of the training rows, then of the test rows, [n + m, d].
        news: Labels of these rows.
        seeds: Seeds of the head and of the order of the rows.
        folder: Folder of finished trainings, by the digest of their labels.
    """

    def __init__(self, features: Tensor, news: News, seeds: Sequence[int], folder: Path) -> None:
        n = len(news.ids)
        self.train, self.test = features[:n], features[n:]
        self.news, self.seeds, self.folder = news, seeds, folder

    def measure_baselines(self) -> dict[str, Tensor]:
        """Return the share of correct trainings of each test row, [m], by what is trained on."""
        news, every = self.news, torch.ones(len(self.train), dtype=torch.bool)
        return {
            GIVEN: self.retrain(news.given, every),
            DROPPED: self.retrain(news.given, ~news.wrong),
            RIGHT: self.retrain(news.truth, every),
        }

    def measure_orders(self, orders: Mapping[str, Tensor]) -> dict[str, dict[int, Tensor]]:
        """Return the share of correct trainings of each test row, by order and verdicts.

        Args:
            orders: Positions of the training rows by order, the first to review first.
        """
        every = torch.ones(len(self.train), dtype=torch.bool)
        measured: dict[str, dict[int, Tensor]] = {name: {} for name in orders}
        for name, order in orders.items():
            for count in (count for count in COUNTS if count <= len(order)):
                labels = self.news.given.clone()
                labels[order[:count]] = self.news.truth[order[:count]]
                measured[name][count] = self.retrain(labels, every)
            shares = {count: f"{hits.mean():.4f}" for count, hits in measured[name].items()}
            print(name, shares, flush=True)
        return measured

    def retrain(self, labels: Tensor, kept: Tensor) -> Tensor:
        """Return the share of trainings that predict each test row correctly, [m].

        Args:
            labels: Labels to train on, [n].
            kept: Mask of the rows to train on, [n].
        """
        parts = (self.train, labels, kept, self.test, torch.tensor(list(self.seeds)))
        digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
        path = self.folder / f"{digest[:32]}.safetensors"
        if not path.is_file():
            hits = [self._train_once(labels, kept, seed) for seed in self.seeds]
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"share": torch.stack(hits).float().mean(0)}, path)
        return load_file(path)["share"]

    def _train_once(self, labels: Tensor, kept: Tensor, seed: int) -> Tensor:
        objective = fastif.ModuleObjective(make_head(seed), fastif.CrossEntropy())
        examples = fastif.TensorExamples(self.train[kept], labels[kept])
        recipe = fastif.TrainingConfig(EPOCHS, RATE, DECAY, BATCH, seed)
        params = fastif.fit(objective, examples, recipe)
        right = self.news.test_labels
        outputs = objective.outputs(params, {"inputs": self.test, "labels": right})
        return outputs.argmax(1) == right


def predict_kept(head: nn.Sequential, path: Path, test: Tensor, test_labels: Tensor) -> Tensor:
    """Return whether the saved model of a run predicts each test row correctly, [m]."""
    weights = load_file(path)
    names = ("bert.pooler.dense", "classifier")
    for layer, name in zip((head[0], head[2]), names, strict=True):
        layer.load_state_dict({key: weights[f"{name}.{key}"] for key in ("weight", "bias")})
    with torch.no_grad():
        return (head(test).argmax(1) == test_labels).float()
