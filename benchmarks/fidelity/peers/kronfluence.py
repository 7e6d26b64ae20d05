"""kronfluence: EK-FAC over the linear layers; LayerNorm and embeddings are left out by it."""

import copy
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from kronfluence.utils.dataset import DataLoaderKwargs
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.fidelity.peers.rows import crop, has_mask
from benchmarks.fidelity.plain import Plain

TRAIN_BATCH, QUERY_BATCH = 128, 100  # of its own example for GLUE


class Classification(Task):
    """Cross-entropy, summed over a batch as it asks, and over labels drawn from the model."""

    def __init__(self, tracked: list[str]) -> None:
        self.tracked = tracked

    def compute_train_loss(
        self, batch: tuple[Tensor, ...], model: nn.Module, sample: bool = False
    ) -> Tensor:
        *inputs, labels = batch
        logits = model(*inputs)
        if sample:
            labels = torch.multinomial(logits.detach().softmax(-1), 1).flatten()
        return F.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: tuple[Tensor, ...], model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self.tracked

    def get_attention_mask(self, batch: tuple[Tensor, ...]) -> Tensor | None:
        return batch[-2] if has_mask(batch[:-1]) else None


def ekfac(plain: Plain, seed: int, damping: float | None) -> Float[Tensor, "q n"]:
    """Scores; without a damping its own rule, a tenth of the mean eigenvalue of each layer."""
    torch.manual_seed(seed)
    task = Classification(
        [
            name
            for name, layer in plain.model.named_modules()
            if isinstance(layer, nn.Linear) and layer.weight.requires_grad
        ]
    )
    model = prepare_model(copy.deepcopy(plain.model), task)
    train = TensorDataset(*plain.train_inputs, plain.train_labels)
    queries = TensorDataset(*plain.query_inputs, plain.query_labels)
    with TemporaryDirectory() as folder:
        analyzer = Analyzer("peer", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
        analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=crop))
        analyzer.fit_all_factors(
            "ekfac",
            train,
            per_device_batch_size=TRAIN_BATCH,
            factor_args=FactorArguments(strategy="ekfac"),
        )
        analyzer.compute_pairwise_scores(
            "scores",
            "ekfac",
            queries,
            train,
            per_device_query_batch_size=QUERY_BATCH,
            per_device_train_batch_size=TRAIN_BATCH,
            score_args=ScoreArguments(damping_factor=damping),
        )
        return analyzer.load_pairwise_scores("scores")["all_modules"]
