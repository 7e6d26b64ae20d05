"""Scores of all pairs by EK-FAC of the linear layers, by fastif or kronfluence, on one device.

    python -m benchmarks.bulk.gpu_peer SIDE PRECISION SCALE OUT

SIDE is "fastif" or "kronfluence"; PRECISION is "tensor cores" (single precision, with TF32 on a
GPU) or "bfloat16". It writes OUT.json, with seconds, and OUT.safetensors, with all scores. Each
side is a separate process with a time limit, so that it has the memory of the device for itself.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fastif
from benchmarks.bulk.gpu_floors import settle
from benchmarks.bulk.gpu_stages import DAMPING, make_half_precision_scorer, tensor_cores
from benchmarks.bulk.gpu_workload import LONGEST, SCALES, Work
from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import by_length, restore_order
from fastif.attribution.influence import mean_influence
from fastif.attribution.scorers import GradientScorer
from fastif.gradients.per_example import compute_measure_gradients
from fastif.numerics.precision import TF32

T = TypeVar("T")

PRECISIONS = ("tensor cores", "bfloat16")
HALF_PRECISION = "bfloat16"


class TextClassifier(nn.Module):
    """A classifier as a function of token ids and attention mask, to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=mask).logits


def measure_side(side: str, precision: str, work: Work) -> tuple[dict[str, float], Tensor]:
    """Return the seconds of fit and scores, and the scores [q n]."""
    function = {"fastif": score_by_fastif, "kronfluence": score_by_kronfluence}[side]
    seconds: dict[str, float] = {}

    def clock(name: str, call: Callable[[], T]) -> T:
        settle(work.device)
        start = time.perf_counter()
        result = call()
        settle(work.device)
        seconds[name] = time.perf_counter() - start
        return result

    with tensor_cores():
        ones = torch.ones(512, 512, device=work.device)
        clock("warm-up", lambda: ones @ ones)
        scores = function(work, precision, clock)
    return seconds, scores.float().cpu()


def score_by_fastif(work: Work, precision: str, clock: Callable) -> Tensor:
    """Score all pairs from the library's parts; the solve is not certified, as by kronfluence."""
    train = work.train.with_batch_size(work.scale.batch)
    matrix = fastif.GaussNewton(work.objective, train)
    fitted = clock("fit", lambda: fastif.Ekfac.fit(matrix))

    def score() -> fastif.Influences:
        queries = work.queries.with_batch_size(work.scale.batch)
        rows = compute_measure_gradients(matrix.gradients, queries)
        s_test = fitted.apply_inverse(rows, DAMPING)
        if precision == HALF_PRECISION:
            return mean_influence([make_half_precision_scorer(work, matrix.gradients, s_test)])
        return mean_influence(
            [GradientScorer(matrix.gradients, train, s_test).with_precision(TF32)]
        )

    influences = clock("scores", score)
    effects = influences.removal_effect
    return torch.empty_like(effects).scatter_(1, influences.ids, effects)


def score_by_kronfluence(work: Work, precision: str, clock: Callable) -> Tensor:
    """Score all pairs; all queries share one pass over the training rows."""
    from kronfluence.arguments import ScoreArguments

    from benchmarks.peers.kronfluence import fit_factors, load_scores, make_analyzer, score_pairs

    plain, query, train = by_length(make_plain_program(work))
    batch = work.scale.batch
    settings = ScoreArguments(
        damping_factor=DAMPING,
        query_gradient_accumulation_steps=-(-len(plain.query_labels) // batch),
    )
    if precision == HALF_PRECISION:
        settings.amp_dtype = settings.score_dtype = torch.bfloat16
        settings.per_sample_gradient_dtype = torch.bfloat16
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        analyzer = make_analyzer(plain, folder, cpu=work.device.type == "cpu")
        clock("fit", lambda: fit_factors(analyzer, plain, batch))
        clock("scores", lambda: score_pairs(analyzer, plain, settings, batch, batch))
        scores = load_scores(analyzer)
    return restore_order(scores.float(), query, train)


def make_plain_program(work: Work) -> Plain:
    """Return model and padded rows for another package; attributed parameters need a gradient."""
    for name, parameter in work.objective.full_model.named_parameters():
        parameter.requires_grad_(name in work.objective.space.names)
    model = TextClassifier(work.objective.full_model)
    return Plain(model, *_pad(work.train), *_pad(work.queries))


def select_pairs(work: Work) -> Work:
    """Return the first rows and queries of a workload, with its linear layers attributed."""
    names = [name for name in work.objective.space.names if "LayerNorm" not in name]
    objective = fastif.TransformerObjective(
        work.objective.full_model, [f"^{name}$" for name in names]
    )
    scale = replace(work.scale, rows=work.scale.peer_rows, queries=work.scale.peer_queries)
    return Work(
        scale, objective, _first(work.train, scale.rows), _first(work.queries, scale.queries)
    )


def _first(texts: fastif.TextExamples, count: int) -> fastif.TextExamples:
    whole = torch.zeros(count, dtype=torch.bool)
    return fastif.TextExamples(
        texts.tokens[:count], None, texts.labels[:count], whole, 0, texts.device
    )


def _pad(texts: fastif.TextExamples) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return padded token ids with their mask, and labels, on the CPU."""
    ids = torch.zeros(len(texts), LONGEST, dtype=torch.long)
    for row, tokens in zip(ids, texts.tokens, strict=True):
        row[: len(tokens)] = tokens
    return (ids, (ids != 0).long()), texts.labels.cpu()


def main(arguments: list[str]) -> None:
    side, precision, scale, out = arguments
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    work = select_pairs(Work.of(SCALES[scale], device))
    seconds, scores = measure_side(side, precision, work)
    save_file({"scores": scores.contiguous()}, f"{out}.safetensors")
    Path(f"{out}.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
