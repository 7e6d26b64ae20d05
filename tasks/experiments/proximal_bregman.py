"""Influence of a network against retraining and the proximal Bregman response (Bae et al.)."""

from collections.abc import Mapping, Sequence

import polars as pl
import torch
from torch import Tensor, nn

import fastif
from fastif.data.examples import Batch
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.parameters import Params
from fastif.numerics.correlation import pearson, spearman
from fastif.training.proximal_bregman import proximal_bregman_response
from fastif.training.retrain import compute_losses
from tasks.experiments.mnist import decode_pixels
from tasks.experiments.plots import chart_to_svg, plot_scatter
from tasks.experiments.result import Cell, Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

WIDTH, DAMPING = 32, 0.1
QUERIES, SEEDS = 20, 3
RECIPE = fastif.TrainingConfig(epochs=10, learning_rate=1e-3, weight_decay=0.0, batch_size=64)
CONTINUED_RECIPE = fastif.TrainingConfig(
    epochs=5, learning_rate=3e-4, weight_decay=0.0, batch_size=64
)
RETRAININGS = {
    "response": "proximal Bregman response",
    "warm": "training continued without the row",
    "cold": "retrained without the row, same seed",
    "seeds": f"retrained without the row, mean of {SEEDS} seeds",
}


def reproduce_proximal_bregman(workspace: Workspace) -> ExperimentResult:
    """Train a network 784-32-10 for ten epochs: neither convex nor at a minimum."""
    rows, queries = (
        _read_digits(workspace, "train", workspace.select_size(1_000, 2_000)),
        _read_digits(workspace, "test", QUERIES),
    )
    objective = _make_network(0)
    objective.params = workspace.cache_tensors(
        "model", lambda: dict(fastif.fit(objective, rows, RECIPE))
    )
    effects = _compute_removal_effects(objective, rows, queries)
    removed = _select_removals(effects, workspace.select_size(20, 100))
    predicted = effects[:, removed]
    measured = _measure_changes(objective, rows, queries, removed, workspace)
    pearson_by_kind = {
        name: _nan_mean(pearson(predicted, change)) for name, change in measured.items()
    }
    return ExperimentResult(
        claims=_make_claims(pearson_by_kind),
        tables=_make_tables(pearson_by_kind, predicted, measured),
        plots=_make_plots(predicted, measured),
        notes=[
            f"{len(rows):,} training digits, network of {objective.space.size:,} parameters, "
            f"λ = {DAMPING:g}, exact Gauss-Newton. The predicted effects have a mean size of "
            f"{float(predicted.abs().mean()):.1e} nats. A change of the seed has a far larger "
            "effect.",
            "The damping matters: the response subtracts the loss of the row without a bound. "
            "With 500 rows and λ = 0.01 it diverged to changes of 4 nats, which a first-order "
            "method does not predict (Pearson 0.84).",
        ],
    )


def _make_claims(pearson_by_kind: Mapping[str, float]) -> list[Claim]:
    """Return the published claims with the results of this run."""
    best, cold = (
        pearson_by_kind["response"],
        max(pearson_by_kind["warm"], pearson_by_kind["cold"], pearson_by_kind["seeds"]),
    )
    return [
        Claim(
            "For a network, influence does not predict retraining without the row: training is "
            "not convex and has not converged (Bae et al.).",
            "weak",
            f"Pearson {cold:.2f} at best",
            cold < best,
        ),
        Claim(
            "Influence predicts the proximal Bregman response.",
            "strong",
            f"Pearson {best:.3f}",
            best > 0.9,
        ),
    ]


def _make_tables(
    pearson_by_kind: Mapping[str, float], predicted: Tensor, measured: Mapping[str, Tensor]
) -> dict[str, Sequence[Mapping[str, Cell]]]:
    """Return the table rows by title."""
    spearman_by_kind = {
        name: _nan_mean(spearman(predicted, change)) for name, change in measured.items()
    }
    removals = predicted.shape[1]
    return {
        f"Predicted effect of {removals} rows on {QUERIES} test digits, mean over digits": [
            {
                "against": words,
                "Pearson": pearson_by_kind[name],
                "Spearman": spearman_by_kind[name],
                "mean size, nats": float(measured[name].abs().mean()),
            }
            for name, words in RETRAININGS.items()
        ]
    }


def _make_plots(predicted: Tensor, measured: dict[str, Tensor]) -> dict[str, str]:
    """Return the plots as SVG by name."""
    return {
        f"response-{name}": chart_to_svg(
            plot_scatter(
                predicted.flatten().tolist(),
                measured[name].flatten().tolist(),
                "predicted change, nats",
                RETRAININGS[name],
            )
        )
        for name in ("response", "cold")
    }


def _read_digits(workspace: Workspace, split: str, count: int) -> fastif.TensorExamples:
    frame = workspace.read_table(f"mnist/{split}").head(count)
    labels = frame["label"].cast(pl.String).cast(pl.Int64).to_torch()
    return fastif.TensorExamples(decode_pixels(frame), labels)


def _make_network(seed: int) -> fastif.ModuleObjective:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)).double()
    return fastif.ModuleObjective(net, fastif.CrossEntropy())


def _compute_removal_effects(
    objective: fastif.ModuleObjective, rows: fastif.Examples, queries: fastif.Examples
) -> Tensor:
    """Return the removal effects of all rows on all queries, [q n]."""
    gradients = fastif.Gradients(objective)
    b = compute_loss_gradients(gradients, queries)
    matrix = fastif.GaussNewton(objective, rows.with_batch_size(64)).with_damping(DAMPING)
    influence = fastif.influence(gradients, rows, fastif.Dual().solve(matrix, b).value)
    return influence.removal_effect.gather(1, influence.ids.argsort(1))


def _select_removals(effects: Tensor, count: int) -> list[int]:
    """Return `count` rows: half with the largest effects, half sampled from the others."""
    order = effects.abs().mean(0).argsort(descending=True)
    generator = torch.Generator().manual_seed(0)
    large = order[: count // 2]
    others = order[count // 2 :]
    random_rows = others[torch.randperm(len(others), generator=generator)[: count - len(large)]]
    return torch.cat([large, random_rows]).tolist()


def _measure_changes(
    objective: fastif.ModuleObjective,
    rows: fastif.TensorExamples,
    queries: fastif.TensorExamples,
    removed: Sequence[int],
    workspace: Workspace,
) -> dict[str, Tensor]:
    """Return the change of each query loss without each row, [q m], by kind of retraining."""
    batch = queries.take(fastif.all_ids(queries))
    before = compute_losses(objective, objective.params, batch)
    changes: dict[str, list[Tensor]] = {}
    for row in removed:
        row_changes = workspace.cache_tensors(
            f"without-{row}",
            lambda row=row: _compute_changes(objective, rows, batch, before, row, workspace),
        )
        for name, change in row_changes.items():
            changes.setdefault(name, []).append(change)
    return {name: torch.stack(changes[name], 1) for name in RETRAININGS}


def _compute_changes(
    objective: fastif.ModuleObjective,
    rows: fastif.TensorExamples,
    batch: Batch,
    before: Tensor,
    row: int,
    workspace: Workspace,
) -> dict[str, Tensor]:
    """Return the change of each query loss without a row, by kind of retraining."""
    is_kept = fastif.all_ids(rows) != row
    without = fastif.TensorExamples(rows.inputs[is_kept], rows.labels[is_kept])

    def loss_change(params: Params, base: Tensor) -> Tensor:
        return compute_losses(objective, params, batch) - base

    def losses_on_all(seed: int) -> Tensor:
        """Return the losses after training on all rows with this seed, the baseline."""
        computed = workspace.cache_tensors(
            f"whole-{seed}", lambda: {"losses": losses_from_scratch(seed, rows)}
        )
        return computed["losses"]

    def losses_from_scratch(seed: int, examples: fastif.Examples) -> Tensor:
        return compute_losses(objective, fastif.fit(_make_network(seed), examples, RECIPE), batch)

    def continue_training(examples: fastif.Examples) -> Params:
        return fastif.fit(objective, examples, CONTINUED_RECIPE)

    base = workspace.cache_tensors(
        "whole-on", lambda: {"losses": loss_change(continue_training(rows), torch.zeros(()))}
    )["losses"]
    cold = [losses_from_scratch(seed, without) - losses_on_all(seed) for seed in range(SEEDS)]
    return {
        "response": loss_change(proximal_bregman_response(objective, rows, row, DAMPING), before),
        "warm": loss_change(continue_training(without), base),
        "cold": cold[0],
        "seeds": torch.stack(cold).mean(0),
    }


def _nan_mean(values: Tensor) -> float:
    return float(values.nanmean())
