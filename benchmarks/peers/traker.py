"""traker: TRAK by its authors, with one model."""

import logging
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, ProjectionType

from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import query_loader, train_loader

ROWS, HELD = 500, 2**28
"""Batch size, and numbers of its gradients: each batch samples the whole projection again, so few
large batches are best, but its memory is several times that of the gradients."""


class Margin(AbstractModelOutput):
    """Margin log p / (1 - p) of the label, the default of traker, for any number of inputs."""

    def __init__(self) -> None:
        """Cache nothing."""

    def get_output(
        self, model: nn.Module, weights: dict, buffers: dict, *row: Tensor
    ) -> Float[Tensor, ""]:
        *inputs, label = (tensor[None] for tensor in row)
        logits = functional_call(model, (weights, buffers), tuple(inputs))
        others = torch.arange(logits.shape[1]) != label[:, None]
        rest = logits.masked_fill(~others, -torch.inf).logsumexp(1)
        return (logits.masked_fill(others, 0).sum(1) - rest).sum()

    def get_out_to_loss_grad(
        self, model: nn.Module, weights: dict, buffers: dict, batch: tuple[Tensor, ...]
    ) -> Float[Tensor, "b 1"]:
        *inputs, labels = batch
        logits = functional_call(model, (weights, buffers), tuple(inputs)).detach()
        return 1 - logits.softmax(1).gather(1, labels[:, None])


def trak(plain: Plain, seed: int, width: int) -> Float[Tensor, "q n"]:
    """Return scores by TRAK with `width` random projections of the margin gradients."""
    state = plain.model.state_dict()
    names = [name for name, p in plain.model.named_parameters() if p.requires_grad]
    size = sum(plain.model.get_parameter(name).numel() for name in names)
    # with one block the projection is lost between rows and queries, so at least two
    block, rows = min(100, -(-width // 2)), max(1, min(ROWS, HELD // size))
    projector = BasicProjector(size, width, seed, ProjectionType.normal, "cpu", block)
    with TemporaryDirectory() as folder:
        traker = TRAKer(
            plain.model,
            Margin(),
            train_set_size=len(plain.train_labels),
            save_dir=folder,
            device="cpu",
            projector=projector,
            logging_level=logging.WARNING,
            use_half_precision=False,
            grad_wrt=names,
        )
        traker.load_checkpoint(state, model_id=0)
        for batch in train_loader(plain, rows):
            traker.featurize(batch, num_samples=len(batch[-1]))
        traker.finalize_features()
        traker.start_scoring_checkpoint("queries", state, 0, len(plain.query_labels))
        for batch in query_loader(plain, rows):
            traker.score(batch, num_samples=len(batch[-1]))
        return torch.tensor(traker.finalize_scores("queries").copy()).T
