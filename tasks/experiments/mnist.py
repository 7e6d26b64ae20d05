"""MNIST digits as tensors, and the logistic regression of the experiments on them."""

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.losses import Loss
from fastif.models.parameters import Params
from fastif.solvers import Solver
from fastif.training.retrain import compute_losses, retrain_exact
from tasks.experiments.workspace import Workspace

PENALTY = 1e-2
"""L2 penalty of the logistic regression."""


def decode_pixels(frame: pl.DataFrame) -> Tensor:
    """Return the images [n 784], pixels from 0 to 1."""
    rows = [np.frombuffer(image, np.uint8) for image in frame["image"]]
    return torch.from_numpy(np.stack(rows)).double() / 255


class OneAgainstSeven:
    """Logistic regression without a bias on MNIST digits 1 and 7, images of norm 1.

    Attributes:
        images: Images of the training rows, pixels from 0 to 1.
        query_images: Images of the queries, pixels from 0 to 1.
        rows: Training rows: all 1s and 7s of the training file; label 1 is the 7.
        queries: Queries: all 1s and 7s of the test file.
        objective: The model, fitted to full precision.
    """

    def __init__(self, workspace: Workspace, loss: Loss | None = None, outputs: int = 2) -> None:
        train, test = (workspace.read_table(f"mnist/{split}") for split in ("train", "test"))
        frames = [
            frame.filter(pl.col("label").cast(pl.String).is_in(["1", "7"]))
            for frame in (train.head(workspace.select_size(12_000, len(train))), test)
        ]
        self.images = decode_pixels(frames[0])
        self.query_images = decode_pixels(frames[1])
        images = (self.images, self.query_images)
        self.rows, self.queries = (
            fastif.TensorExamples(
                table / table.norm(dim=1, keepdim=True),
                (frame["label"].cast(pl.String) == "7").cast(pl.Int64).to_torch(),
                batch_size,
            )
            for table, frame, batch_size in zip(images, frames, (512, 64), strict=True)
        )
        module = nn.Linear(784, outputs, bias=False).double()
        nn.init.zeros_(module.weight)
        self.objective = fastif.ModuleObjective(module, loss or fastif.CrossEntropy())

    def fit(self, without: int | None = None, start: Params | None = None) -> Params:
        """Return the parameters at the minimum, with all rows or without one."""
        weights = torch.ones(len(self.rows), dtype=torch.float64)
        if without is not None:
            weights[without] = 0.0
        return retrain_exact(self.objective, self.rows, PENALTY, weights, start)

    def retrain_change(self, row: int, query: int) -> float:
        """Return the change of the loss of a query after retraining without a row."""
        batch = self.queries.take(torch.tensor([query]))
        before = compute_losses(self.objective, self.objective.params, batch)
        retrained = self.fit(row, self.objective.params)
        return float(compute_losses(self.objective, retrained, batch) - before)

    def compute_removal_effects(self, query_ids: Tensor, solver: Solver) -> tuple:
        """Return the removal effects of all rows [q n] by a solver, and its solution."""
        gradients = fastif.Gradients(self.objective)
        b = compute_loss_gradients(gradients, self.queries, query_ids)
        matrix = fastif.GaussNewton(self.objective, self.rows)
        solution = solver.solve(matrix.with_damping(PENALTY), b)
        influence = fastif.influence(gradients, self.rows, solution.value)
        return influence.removal_effect.gather(1, influence.ids.argsort(1)), solution
