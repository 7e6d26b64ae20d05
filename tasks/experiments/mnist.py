"""MNIST's digits as rows of numbers, and what experiments on them share."""

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

import fastif
from fastif.models.parameters import Params
from fastif.training.retrain import losses_of, refit
from tasks.experiments.workspace import Place

PENALTY = 1e-2
"""Of the text's logistic regression."""


def pixels(frame: pl.DataFrame) -> Tensor:
    """Images [n, 784], from 0 to 1."""
    rows = [np.frombuffer(image, np.uint8) for image in frame["image"]]
    return torch.from_numpy(np.stack(rows)).double() / 255


class OneAgainstSeven:
    """Logistic regression without a bias, on images of length 1, as the text has it.

    Attributes:
        images: of the training rows, from 0 to 1.
        rows: all 1s and 7s of the training file; label 1 is the 7.
        asked: those of the test file.
        objective: fitted to the last digits.
    """

    def __init__(self, place: Place, loss: fastif.Loss | None = None, outputs: int = 2) -> None:
        seen, new = (place.table(f"mnist/{part}") for part in ("train", "test"))
        chosen = [frame.filter(pl.col("label").cast(pl.String).is_in(["1", "7"]))
                  for frame in (seen.head(place.sized(12_000, len(seen))), new)]  # fmt: skip
        self.images = pixels(chosen[0])
        self.asked_images = pixels(chosen[1])
        self.rows, self.asked = (
            fastif.TensorExamples(
                images / images.norm(dim=1, keepdim=True),
                (frame["label"].cast(pl.String) == "7").cast(pl.Int64).to_torch(),
            )
            for images, frame in zip((self.images, self.asked_images), chosen, strict=True)
        )
        module = nn.Linear(784, outputs, bias=False).double()
        nn.init.zeros_(module.weight)
        self.objective = fastif.ModuleObjective(module, loss or fastif.CrossEntropy())

    def fitted(self, without: int | None = None, start: Params | None = None) -> Params:
        """Parameters at the minimum, with all rows or without one."""
        weights = torch.ones(len(self.rows), dtype=torch.float64)
        if without is not None:
            weights[without] = 0.0
        return refit(self.objective, self.rows, PENALTY, weights, start)

    def change(self, row: int, asked: int) -> float:
        """Of the loss of a test digit, after training without a row."""
        batch = self.asked.take(torch.tensor([asked]))
        before = losses_of(self.objective, self.objective.params, batch)
        again = self.fitted(row, self.objective.params)
        return float(losses_of(self.objective, again, batch) - before)

    def effects(self, asked: Tensor, solver: fastif.Solver, batch_size: int = 512) -> tuple:
        """Removal effects of all rows [q n] by a solver, and its solution."""
        gradients = fastif.Gradients(self.objective)
        b = fastif.gradient_rows(gradients, self.asked, asked, 64)
        matrix = fastif.GaussNewton(self.objective, self.rows, batch_size=batch_size)
        solution = solver.solve(matrix.damped(PENALTY), b)
        found = fastif.influence(gradients, self.rows, solution.value, batch_size=batch_size)
        return found.removal_effect.gather(1, found.ids.argsort(1)), solution
