"""Removal effects by dense float64 matrices: plain autograd, one example at a time, no padding.

    effect[query, train] = 1/n g_qᵀ (C + λI)⁻¹ g_i          to first order
                           1/n g_qᵀ (C - C_i/n + λI)⁻¹ g_i  with the leverage; C_i is of row i

g_q is the gradient of the query's measure, its cross-entropy unless the case has another, g_i and C
those of the loss as trained: C the mean of Jᵀ (d²L/dz²) J over the curvature's rows, J = dz/dθ, or
of d²L/dθ².
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tests.fuzz.case import Case
from tests.fuzz.losses import RowLoss, training_loss
from tests.fuzz.measures import measure_queries
from tests.fuzz.parameters import attributed_parameters
from tests.fuzz.tables import Row, Rows
from tests.fuzz.targets import to_numbers

DIRECT = 300
"""Parameters up to which a row is left out of the dense matrix itself, without an identity."""


class UndefinedError(Exception):
    """The model itself cannot read the rows, so that there is no true answer."""


@dataclass(frozen=True, eq=False)
class Read:
    """What one member makes of a table.

    Attributes:
        outputs: [n c].
        jacobian: d outputs / d attributed parameters, [n c p].
        targets: Weight of each row, and the numbers of its target, [n 1+t].
        hessians: d² loss / d parameters², [n p p]; None where they are not needed.
        truncated: which rows were cut.
    """

    outputs: Tensor
    jacobian: Tensor
    targets: Tensor
    truncated: list[bool]
    hessians: Tensor | None = None

    def gradients(self, loss: RowLoss) -> Tensor:
        """d loss / d parameters, [n p]."""
        pulls = torch.stack(
            [torch.func.grad(loss)(z, y) for z, y in zip(self.outputs, self.targets, strict=True)]
        )
        return torch.einsum("nc,ncp->np", pulls, self.jacobian)


class Member:
    """A saved model in double precision, and the parameters that a study attributes to."""

    def __init__(self, folder: Path, case: Case, parameters: int | None) -> None:
        self.case = case
        self.model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        )
        self.model = self.model.double().eval()
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        named = dict(self.model.named_parameters())
        readings = attributed_parameters(case, list(named))
        sizes = [sum(named[name].numel() for name in names) for names in readings]
        if parameters is not None and parameters not in sizes:
            raise AssertionError(f"{parameters} attributed parameters are none of {sizes}")
        self.names = readings[0 if parameters is None else sizes.index(parameters)]
        self.parameters = [named[name] for name in self.names]
        self.size = sum(tensor.numel() for tensor in self.parameters)

    def inputs(self, row: Row) -> tuple[dict[str, Tensor], bool]:
        """The row's tokens as the model wants them, and whether it was cut.

        A model that knows one token type, or none, is given none.
        """
        texts = [row["a"], row["b"]] if self.case.pairs else [row["a"]]
        whole = self.tokenizer(*texts)["input_ids"]
        limit = self.case.max_length
        given = self.tokenizer(*texts, truncation=True, max_length=limit, return_tensors="pt")
        taken = set(inspect.signature(self.model.forward).parameters)
        if getattr(self.model.config, "type_vocab_size", None) == 1:
            taken.discard("token_type_ids")
        return {k: v for k, v in given.items() if k in taken}, len(whole) > limit

    def read(self, rows: Rows, loss: RowLoss | None = None) -> Read:
        """Outputs and derivatives of every row; with a loss also its second derivatives."""
        outputs, jacobians, hessians, cuts = [], [], [], []
        targets = torch.stack([self.target(row) for row in rows])
        for row, target in zip(rows, targets, strict=True):
            given, cut = self.inputs(row)
            logits = self.outputs(given)
            outputs.append(logits.detach())
            cuts.append(cut)
            jacobians.append(torch.stack([self._flat(logit) for logit in logits]).detach())
            if loss is not None:
                hessians.append(self._hessian(loss(logits, target)))
        second = torch.stack(hessians) if loss is not None else None
        return Read(torch.stack(outputs), torch.stack(jacobians), targets, cuts, second)

    def target(self, row: Row) -> Tensor:
        """Weight of the row, 1 of a query, and its target, [1+t]; with a focus NaN for others."""
        case, focus = self.case, row.get("focus")
        numbers = to_numbers(case.target, case.labels, row["label"])
        if focus is not None:
            numbers = [y if i == focus else torch.nan for i, y in enumerate(numbers)]
        return torch.tensor([row.get("weight", 1.0), *numbers], dtype=torch.float64)

    def outputs(self, given: dict[str, Tensor]) -> Tensor:
        """Of one example, [c].

        Raises:
            UndefinedError: the model breaks on it.
        """
        try:
            return self.model(**given).logits[0]
        except (IndexError, RuntimeError, ValueError, TypeError) as error:
            raise UndefinedError(f"{type(error).__name__}: {error}") from None

    def _flat(self, value: Tensor, graph: bool = False) -> Tensor:
        gradients = torch.autograd.grad(
            value, self.parameters, retain_graph=True, create_graph=graph, allow_unused=True
        )
        return torch.cat(
            [
                torch.zeros_like(own).flatten() if part is None else part.flatten()
                for part, own in zip(gradients, self.parameters, strict=True)
            ]
        )

    def _hessian(self, loss: Tensor) -> Tensor:
        gradient = self._flat(loss, graph=True)
        return torch.stack([self._flat(component) for component in gradient]).detach()


class Truth:
    """Dense float64 reference of everything that a run should have stored.

    Args:
        case: Sampled study.
        folders: Folders of the models.
        curved: Training rows of the curvature; in an incremental run those of the parent run.
        train, queries: Rows of the run itself.
        parameters: Stored number of attributed parameters, which decides between two selections.
    """

    def __init__(
        self,
        case: Case,
        folders: Iterable[Path],
        curved: Rows,
        train: Rows,
        queries: Rows,
        parameters: int | None = None,
    ) -> None:
        self.case = case
        self.loss = training_loss(case.target, len(case.labels), case.weights, case.smoothing)
        self.members = [Member(folder, case, parameters) for folder in folders]
        twice = self.loss if case.hessian else None
        self.train = [member.read(train, twice) for member in self.members]
        self.queries = [member.read(queries) for member in self.members]
        self.curved = self.train
        if curved is not train:
            self.curved = [member.read(curved, twice) for member in self.members]
        self.curved_rows = curved
        self.right = [read.gradients(self.loss) for read in self.train]
        self.measured = list(measure_queries(case, self.loss, queries, self.queries[0]))
        self.left = [self._gradients(read) for read in self.queries]
        self.damping = case.damping + case.penalty

    def _gradients(self, read: Read) -> Tensor:
        """d measure / d parameters of the queries, [q p]."""
        pulls = [
            torch.func.grad(measure.cost)(z, measure.target)
            for z, measure in zip(read.outputs, self.measured, strict=True)
        ]
        return torch.einsum("nc,ncp->np", torch.stack(pulls), read.jacobian)

    def measure_values(self) -> list[float]:
        """Value of each query's measure by the first model, in its own direction."""
        return [
            measure.sign * float(measure.cost(z, measure.target))
            for z, measure in zip(self.queries[0].outputs, self.measured, strict=True)
        ]

    def matrices(self, ids: Sequence[int] | None = None) -> list[Tensor]:
        """C + λI of every member, of all the curvature's rows or of some."""
        return [self._matrix(read, ids) for read in self.curved]

    def _matrix(self, read: Read, ids: Sequence[int] | None) -> Tensor:
        places = list(range(len(read.outputs))) if ids is None else list(ids)
        if read.hessians is not None:
            matrix = read.hessians[places].mean(0)
        else:
            matrix = read.jacobian.new_zeros(())
            for place in places:
                jacobian, target = read.jacobian[place], read.targets[place]
                bend = self.loss.bend(read.outputs[place], target)
                matrix = matrix + jacobian.T @ bend @ jacobian / len(places)
        return matrix + self.damping * torch.eye(len(matrix)).to(matrix)

    def training_vectors(self, matrices: Sequence[Tensor], leverage: bool) -> list[Tensor]:
        """What a training row counts as, [n p] of each member: g_i, or with the leverage

        (C + λI) (C - C_i/n + λI)⁻¹ g_i, so that a solve with the whole matrix does for all rows.
        """
        if not leverage:
            return self.right
        return [
            self._training_vectors(*parts)
            for parts in zip(matrices, self.train, self.right, strict=True)
        ]

    def _training_vectors(self, matrix: Tensor, read: Read, right: Tensor) -> Tensor:
        factor = torch.linalg.lu_factor(matrix)
        left_out = [
            _without(matrix, factor, read, place, self.loss, gradient)
            for place, gradient in enumerate(right)
        ]
        return torch.stack(left_out) @ matrix

    def answers(self, matrices: Sequence[Tensor], leverage: bool = False) -> tuple[Tensor, Tensor]:
        """Effects, and the most that an error of norm 1 in a query's right-hand side moves them.

            |rᵀ (C + λI)⁻¹ g_i| / n ≤ ‖r‖ ‖(C + λI)⁻¹ g_i‖ / n,    here for ‖r‖ = ‖g_q‖

        Returns:
            Both as [members q n]; of effects the mean over the first axis is what is stored.
        """
        effects, reach = [], []
        for left, matrix, pulled in zip(
            self.left, matrices, self.training_vectors(matrices, leverage), strict=True
        ):
            solved = torch.linalg.solve(matrix, pulled.T) / len(pulled)
            effects.append(left @ solved)
            reach.append(left.norm(dim=1)[:, None] * solved.norm(dim=0))
        return torch.stack(effects), torch.stack(reach)

    def least_eigenvalue(self, matrices: Sequence[Tensor]) -> float:
        """Of all members."""
        return min(float(torch.linalg.eigvalsh(matrix)[0]) for matrix in matrices)


def _without(
    matrix: Tensor,
    factor: tuple[Tensor, Tensor],
    read: Read,
    place: int,
    loss: RowLoss,
    gradient: Tensor,
) -> Tensor:
    """(A - RᵀR/n)⁻¹ g, RᵀR the row's own term: A⁻¹ g + A⁻¹ Rᵀ (nI - R A⁻¹ Rᵀ)⁻¹ R A⁻¹ g."""
    bend = loss.bend(read.outputs[place], read.targets[place])
    values, vectors = torch.linalg.eigh(bend)
    rows = (vectors * values.clamp_min(0).sqrt()).T @ read.jacobian[place]
    count = len(read.outputs)
    if len(matrix) <= DIRECT:
        return torch.linalg.solve(matrix - rows.T @ rows / count, gradient)
    solved = torch.linalg.lu_solve(*factor, torch.cat([rows, gradient[None]]).T)
    inner = count * torch.eye(len(rows)).to(rows) - rows @ solved[:, :-1]
    return solved[:, -1] + solved[:, :-1] @ torch.linalg.solve(inner, rows @ solved[:, -1])
