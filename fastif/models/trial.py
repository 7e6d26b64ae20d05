"""A trial of model and examples on a few rows, before anything is computed with them.

Influence takes the loss of an example for a function of that example and the parameters. A model
that draws by chance, mixes the rows of a batch or computes in half precision has no such function;
nor is there one at a target that the loss does not know. All of it is refused here, once for every
objective and table, with the name of the module that is the cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, WeakSet

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastif.data.examples import Batch, Examples
from fastif.data.targets import check_targets, labels_of
from fastif.data.torch_forms import Given, as_examples
from fastif.errors import InputError
from fastif.gradients.hooks import MIX, leaves
from fastif.losses import Measure
from fastif.models.batch_invariance import check_company, check_many, whole_of
from fastif.models.nondeterministic_module import Trace, in_half_precision
from fastif.models.objective import Objective
from fastif.models.probe_batch import sample
from fastif.models.same_outputs import (
    Run,
    alike,
    blame,
    computed_in,
    gap,
)
from fastif.numerics.arithmetic import HALF
from fastif.numerics.out_of_memory import is_out_of_memory

ROWS = 5
"""Rows that are tried, of unlike length."""
REPEATS, MORE = 3, 16
"""Runs of the same rows, chance striking in some only; and once something else has differed."""


@dataclass
class _Tried:
    """What has been tried of an objective.

    Attributes:
        batch: whether some batch was.
        outputs: how many numbers a row has.
        tables: those that were tried.
    """

    batch: bool = False
    outputs: int = 0
    tables: "WeakSet[Examples]" = field(default_factory=WeakSet)


_known: "WeakKeyDictionary[Objective, _Tried]" = WeakKeyDictionary()


def try_batch(objective: Objective, batch: Batch) -> None:
    """Try the model on rows of a batch, once for each objective.

    Raises:
        InputError: naming the module that is the cause.
    """
    objective = whole_of(objective)
    _check_autocast(objective)
    known = _known.setdefault(objective, _Tried())
    if known.batch:
        return
    few = {name: tensor[:ROWS] for name, tensor in batch.items() if name != MIX}
    outputs = check_rows(objective, few)
    check_targets(objective.loss, few["labels"], outputs.shape[1], "targets of the first batch")
    known.batch = len(few["labels"]) > 1  # one row has no company


def try_table(
    objective: Objective, examples: Given, where: str, measure: Measure | None = None
) -> Examples:
    """Try the model on rows of a table, and the targets of all rows, once for each pair.

    Args:
        objective: the model.
        examples: the table.
        where: names it in a refusal.
        measure: what its targets are for; the loss if left out.

    Returns:
        The examples.

    Raises:
        InputError: these are no examples, or naming the module or the rows that are the cause.
    """
    examples, objective = as_examples(examples, where), whole_of(objective)
    _check_autocast(objective)
    known = _known.setdefault(objective, _Tried())
    if examples in known.tables or not len(examples):
        return examples
    table = _innermost(examples)
    if table not in known.tables:
        batch = _same_rows(table, where)
        prove = getattr(objective, "prove", None)
        if prove is not None:
            prove(table)
        outputs = check_rows(objective, batch)
        _check_padding(objective, table, outputs)
        with foreign(objective):
            check_many(objective, table)
        known.batch |= len(outputs) > 1
        known.outputs = outputs.shape[1]
        known.tables.add(table)
    targets = labels_of(examples)
    if targets is not None:
        check_targets(measure or objective.loss, targets, known.outputs, where)
    known.tables.add(examples)
    return examples


def _innermost(examples: Examples) -> Examples:
    """The rows themselves, out of what counts or keeps them; a selection of them as it is."""
    while isinstance(inner := getattr(examples, "examples", None), Examples):
        if len(inner) != len(examples):
            break
        examples = inner
    return examples


def _same_rows(table: Examples, where: str) -> Batch:
    """A few rows, after seeing that they are the same each time."""
    ids = sample(table, ROWS)
    first, second = table.take(ids), table.take(ids)
    for name, tensor in first.items():
        if tensor.shape != second[name].shape or not _equal(tensor, second[name]):
            raise InputError(
                where,
                "the same rows each time they are taken",
                f"other {name} of rows {', '.join(map(str, ids.tolist()))} the second time",
                "Leave out what augments or shuffles them.",
            )
    return first


def _equal(first: Tensor, second: Tensor) -> bool:
    return bool(((first == second) | ((first != first) & (second != second))).all())


@torch.no_grad()
def check_rows(objective: Objective, batch: Batch) -> Float[Tensor, "b c"]:
    """The outputs of a few rows, after comparing all ways to them.

    Raises:
        InputError: they depend on chance, on company, on gradients, or are of half precision.
    """

    def run(part: Batch = batch) -> Tensor:
        return objective.outputs(objective.params, part)

    with foreign(objective):
        with _Precisions() as watch:
            outputs = run()
        half = watch.dtypes.intersection(HALF)
        if half and objective.like.dtype not in HALF:
            raise _half(objective, run, half)
        computed_in(objective, watch.dtypes)
        try:
            _check_chance(objective, run, outputs, REPEATS)
            _check_gradients(objective, batch, outputs)
            check_company(objective, batch, outputs)
        except InputError:
            _check_chance(objective, run, outputs, MORE)  # it may have been this all along
            raise
    return outputs


def _check_chance(objective: Objective, run: Run, outputs: Tensor, times: int) -> None:
    same = alike(outputs, objective)
    if not all(bool(same(run(), outputs).all()) for _ in range(times)):
        raise _chance(objective, run)


def _check_gradients(objective: Objective, batch: Batch, outputs: Tensor) -> None:
    """Refuse outputs that are others, or have no path to the parameters, once gradients are on.

    And a backward pass that fails, or that computes in half precision.
    """
    params = leaves(objective)

    def run() -> Tensor:
        with torch.enable_grad():
            return objective.outputs(params, batch)

    found = run()
    if not found.requires_grad:
        raise InputError(
            type(objective.module).__name__,
            "outputs that depend on the attributed parameters",
            f"none of {len(objective.space.names)} does, such as {objective.space.names[0]}",
            "Attribute parameters that the model uses; look for no_grad or detach in it.",
        )
    if alike(outputs, objective)(found.detach(), outputs).all():
        with _Precisions() as watch:
            ones = torch.ones_like(found)
            torch.autograd.grad(found, tuple(params.values()), ones, allow_unused=True)
        half = watch.dtypes.intersection(HALF)
        if half and objective.like.dtype not in HALF:
            raise _half(objective, run, half, "the backward pass of ")
        return
    cause = blame(objective, lambda: objective.outputs(objective.params, batch), run)
    raise InputError(
        cause,
        "the same outputs with and without gradients",
        f"a difference of {gap(found.detach(), outputs):.1e}",
        "Look for a fast path of inference, such as enable_nested_tensor, and switch it off.",
    )


@torch.no_grad()
def _check_padding(objective: Objective, table: Examples, outputs: Tensor) -> None:
    """Refuse outputs of a row that are others beside longer rows, or in a model not used before."""
    ids, same = sample(table, ROWS), alike(outputs, objective)
    varied = bool((table.lengths != table.lengths[0]).any())
    for place in table.lengths[ids].argsort(descending=True).tolist():
        expected, batch = outputs[place : place + 1], table.take(ids[place : place + 1])
        with foreign(objective):
            found = objective.unused().outputs(objective.params, batch)
            fits = bool(same(found, expected).all())
            if fits and not varied:
                continue
            again = objective.outputs(objective.params, batch)  # after a longer one
        off = f"in row {int(ids[place])}"
        if not same(again, found).all():
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on what the model was given before",
                f"a difference of {gap(again, found):.1e} {off}",
                "Look for what is kept from one call to the next: a cache, a setting, a statistic.",
            )
        if not fits:
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on the longer rows of its batch",
                f"a difference of {gap(found, expected):.1e} {off}",
                "Look for padding that is read; give the model a mask.",
            )


def _chance(objective: Objective, run: Run) -> InputError:
    return InputError(
        blame(objective, run, run),
        "the same outputs each time in evaluation mode",
        "other outputs for the same rows",
        "Look for dropout or sampling that evaluation mode does not switch off: "
        "F.dropout(x, p, self.training).",
    )


def _half(objective: Objective, run: Run, types: set[torch.dtype], of: str = "") -> InputError:
    with Trace().of(objective.module) as trace:
        run()
    found = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
    like = str(objective.like.dtype).removeprefix("torch.")
    return InputError(
        of + (in_half_precision(trace) or type(objective.module).__name__),
        f"computation in the precision of the weights, {like}",
        f"numbers of {found}",
        "Switch autocast off in evaluation: torch.autocast(..., enabled=self.training).",
    )


def _check_autocast(objective: Objective) -> None:
    """Refuse to work inside somebody's autocast."""
    device = objective.like.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        raise InputError(
            "torch.autocast",
            "computation in the precision of the weights",
            f"autocast to {torch.get_autocast_dtype(device)} around the call",
            "Call fastif outside of autocast.",
        )


class _Precisions(TorchDispatchMode):
    """Notes in which floating types something is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.dtypes.add(tensor.dtype)
        return made


@contextmanager
def foreign(objective: Objective) -> Iterator[None]:
    """Whatever the model's own code raises becomes a refusal; a lack of memory stays one."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            type(objective.module).__name__,
            "outputs for a few rows of the examples",
            f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            "Call the model on one batch of these examples, in evaluation mode, to see where.",
        ) from error
