"""kronfluence: EK-FAC over the linear layers, then every pair's score, in single precision."""

import copy
from tempfile import TemporaryDirectory

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.utils.dataset import DataLoaderKwargs
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.bulk.sides.told import SideResult
from benchmarks.fidelity.peers.kronfluence import Classification
from benchmarks.fidelity.peers.rows import by_length, crop, restore_order
from benchmarks.fidelity.plain import Plain

NAME = "ekfac"


def kronfluence(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Factors, then scores; all queries share one pass over the training rows."""
    plain, query, train = by_length(problem.plain)
    rows = TensorDataset(*plain.train_inputs, plain.train_labels)
    query_data = TensorDataset(*plain.query_inputs, plain.query_labels)
    torch.manual_seed(turn)
    with TemporaryDirectory() as folder:
        analyzer = _analyzer(plain, folder)
        clock.time("factor", lambda: _fit(analyzer, rows, sizes))
        clock.time("answer", lambda: _score(analyzer, query_data, rows, sizes))
        scores = analyzer.load_pairwise_scores(NAME)
    assert scores is not None  # as it has just computed them
    return SideResult({}, {"scores": restore_order(scores["all_modules"].float(), query, train)})


def _analyzer(plain: Plain, folder: str) -> Analyzer:
    layers = plain.model.named_modules()
    tracked = [n for n, m in layers if isinstance(m, nn.Linear) and m.weight.requires_grad]
    task = Classification(tracked)
    model = prepare_model(copy.deepcopy(plain.model), task)
    analyzer = Analyzer("side", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=crop))
    return analyzer


def _fit(analyzer: Analyzer, rows: TensorDataset, sizes: Sizes) -> None:
    settings = FactorArguments(strategy=NAME)
    analyzer.fit_all_factors(
        NAME, rows, per_device_batch_size=sizes.fit_batch, factor_args=settings
    )


def _score(
    analyzer: Analyzer, query_data: TensorDataset, rows: TensorDataset, sizes: Sizes
) -> None:
    settings = ScoreArguments(
        damping_factor=sizes.ekfac_damping,
        query_gradient_accumulation_steps=-(-len(query_data) // sizes.query_batch),
    )
    analyzer.compute_pairwise_scores(
        NAME,
        NAME,
        query_data,
        rows,
        per_device_query_batch_size=sizes.query_batch,
        per_device_train_batch_size=sizes.train_batch,
        score_args=settings,
    )
