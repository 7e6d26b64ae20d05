"""kronfluence: EK-FAC over the linear layers, without LayerNorm and embeddings."""

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

from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import crop, has_mask

NAME = "ekfac"
TRAIN_BATCH, QUERY_BATCH = 128, 100  # from its example for GLUE


class Classification(Task):
    """Cross-entropy task: losses summed over a batch, labels sampled from the model."""

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
    """Return scores; by default the damping is a tenth of the mean eigenvalue of each layer."""
    torch.manual_seed(seed)
    with TemporaryDirectory() as folder:
        analyzer = make_analyzer(plain, folder)
        fit_factors(analyzer, plain, TRAIN_BATCH)
        settings = ScoreArguments(damping_factor=damping)
        score_pairs(analyzer, plain, settings, QUERY_BATCH, TRAIN_BATCH)
        return load_scores(analyzer)


def make_analyzer(plain: Plain, folder: str, *, cpu: bool = True) -> Analyzer:
    """Return its analyzer for the linear layers of a copy of the model, with files in `folder`."""
    layers = plain.model.named_modules()
    task = Classification(
        [n for n, m in layers if isinstance(m, nn.Linear) and m.weight.requires_grad]
    )
    model = prepare_model(copy.deepcopy(plain.model), task)
    analyzer = Analyzer(NAME, model, task, cpu=cpu, disable_tqdm=True, output_dir=folder)
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=crop))
    return analyzer


def fit_factors(analyzer: Analyzer, plain: Plain, batch: int) -> None:
    """Fit EK-FAC on all training rows, in batches of `batch`."""
    settings = FactorArguments(strategy="ekfac")
    rows = TensorDataset(*plain.train_inputs, plain.train_labels)
    analyzer.fit_all_factors(NAME, rows, per_device_batch_size=batch, factor_args=settings)


def score_pairs(
    analyzer: Analyzer, plain: Plain, settings: ScoreArguments, query_batch: int, train_batch: int
) -> None:
    """Compute the scores of all pairs from the fitted factors into its files."""
    analyzer.compute_pairwise_scores(
        NAME,
        NAME,
        TensorDataset(*plain.query_inputs, plain.query_labels),
        TensorDataset(*plain.train_inputs, plain.train_labels),
        per_device_query_batch_size=query_batch,
        per_device_train_batch_size=train_batch,
        score_args=settings,
    )


def load_scores(analyzer: Analyzer) -> Float[Tensor, "q n"]:
    """Return the scores from its files."""
    scores = analyzer.load_pairwise_scores(NAME)
    assert scores is not None  # just computed
    return scores["all_modules"]
