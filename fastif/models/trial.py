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

from fastif.data.examples import COLUMN_WEIGHTS, Batch, Examples
from fastif.data.targets import check_targets, find_targets
from fastif.data.torch_forms import ExamplesLike, as_examples
from fastif.errors import InputError
from fastif.losses import Measure
from fastif.models.batch_invariance import (
    check_batch_invariance,
    check_table_invariance,
    get_full_objective,
)
from fastif.models.half_precision_check import (
    DtypeRecorder,
    check_autocast,
    make_half_precision_error,
)
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params
from fastif.models.probe_batch import select_probe_rows
from fastif.models.same_outputs import (
    ForwardFn,
    locate_difference,
    make_rounding_test,
    max_difference,
    record_dtypes,
)
from fastif.numerics.arithmetic import HALF
from fastif.numerics.out_of_memory import is_out_of_memory

TRIAL_ROWS = 5
"""Rows that are tried, of unlike length."""
REPEATS, MORE_REPEATS = 3, 16
"""Runs of the same rows, chance striking in some only; and once something else has differed."""


@dataclass
class _TrialRecord:
    """What has been tried of an objective.

    Attributes:
        batch: whether some batch was.
        outputs: how many numbers a row has.
        tables: those that were tried.
    """

    batch: bool = False
    outputs: int = 0
    tables: "WeakSet[Examples]" = field(default_factory=WeakSet)


_records: "WeakKeyDictionary[Objective, _TrialRecord]" = WeakKeyDictionary()


def try_batch(objective: Objective, batch: Batch) -> None:
    """Try the model on rows of a batch, once for each objective.

    Raises:
        InputError: naming the module that is the cause.
    """
    objective = get_full_objective(objective)
    check_autocast(objective)
    record = _records.setdefault(objective, _TrialRecord())
    if record.batch:
        return
    few = {name: tensor[:TRIAL_ROWS] for name, tensor in batch.items() if name != COLUMN_WEIGHTS}
    outputs = check_rows(objective, few)
    check_targets(objective.loss, few["labels"], outputs.shape[1], "targets of the first batch")
    record.batch = len(few["labels"]) > 1  # one row has no company


def try_table(
    objective: Objective, examples: ExamplesLike, where: str, measure: Measure | None = None
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
    examples, objective = as_examples(examples, where), get_full_objective(objective)
    check_autocast(objective)
    record = _records.setdefault(objective, _TrialRecord())
    if examples in record.tables or not len(examples):
        return examples
    table = _unwrap_examples(examples)
    if table not in record.tables:
        batch = _take_repeatable_rows(table, where)
        verify_shortcuts = getattr(objective, "verify_shortcuts", None)
        if verify_shortcuts is not None:
            verify_shortcuts(table)
        outputs = check_rows(objective, batch)
        _check_padding(objective, table, outputs)
        with translate_model_errors(objective):
            check_table_invariance(objective, table)
        record.batch |= len(outputs) > 1
        record.outputs = outputs.shape[1]
        record.tables.add(table)
    targets = find_targets(examples)
    if targets is not None:
        check_targets(measure or objective.loss, targets, record.outputs, where)
    record.tables.add(examples)
    return examples


def _unwrap_examples(examples: Examples) -> Examples:
    """The rows themselves, out of what counts or keeps them; a selection of them as it is."""
    while isinstance(inner := getattr(examples, "examples", None), Examples):
        if len(inner) != len(examples):
            break
        examples = inner
    return examples


def _take_repeatable_rows(table: Examples, where: str) -> Batch:
    """A few rows, after seeing that they are the same each time."""
    ids = select_probe_rows(table, TRIAL_ROWS)
    first, second = table.take(ids), table.take(ids)
    for name, tensor in first.items():
        if tensor.shape != second[name].shape or not _is_equal(tensor, second[name]):
            raise InputError(
                where,
                "the same rows each time they are taken",
                f"other {name} of rows {', '.join(map(str, ids.tolist()))} the second time",
                "Leave out what augments or shuffles them.",
            )
    return first


def _is_equal(first: Tensor, second: Tensor) -> bool:
    return bool(((first == second) | ((first != first) & (second != second))).all())


@torch.no_grad()
def check_rows(objective: Objective, batch: Batch) -> Float[Tensor, "b c"]:
    """The outputs of a few rows, after comparing all ways to them.

    Raises:
        InputError: they depend on chance, on company, on gradients, or are of half precision.
    """

    def run(rows: Batch = batch) -> Tensor:
        return objective.outputs(objective.params, rows)

    with translate_model_errors(objective):
        with DtypeRecorder() as recorder:
            outputs = run()
        half_dtypes = recorder.dtypes.intersection(HALF)
        if half_dtypes and objective.like.dtype not in HALF:
            raise make_half_precision_error(objective, run, half_dtypes)
        record_dtypes(objective, recorder.dtypes)
        try:
            _check_determinism(objective, run, outputs, REPEATS)
            _check_gradients(objective, batch, outputs)
            check_batch_invariance(objective, batch, outputs)
        except InputError:
            _check_determinism(
                objective, run, outputs, MORE_REPEATS
            )  # it may have been this all along
            raise
    return outputs


def _check_determinism(objective: Objective, run: ForwardFn, outputs: Tensor, repeats: int) -> None:
    same = make_rounding_test(outputs, objective)
    if not all(bool(same(run(), outputs).all()) for _ in range(repeats)):
        raise _make_nondeterminism_error(objective, run)


def _check_gradients(objective: Objective, batch: Batch, outputs: Tensor) -> None:
    """Refuse outputs that are others, or have no path to the parameters, once gradients are on.

    And a backward pass that fails, or that computes in half precision.
    """
    params = make_leaf_params(objective.params)

    def run() -> Tensor:
        with torch.enable_grad():
            return objective.outputs(params, batch)

    grad_outputs = run()
    if not grad_outputs.requires_grad:
        raise InputError(
            type(objective.module).__name__,
            "outputs that depend on the attributed parameters",
            f"none of {len(objective.space.names)} does, such as {objective.space.names[0]}",
            "Attribute parameters that the model uses; look for no_grad or detach in it.",
        )
    if make_rounding_test(outputs, objective)(grad_outputs.detach(), outputs).all():
        with DtypeRecorder() as recorder:
            ones = torch.ones_like(grad_outputs)
            torch.autograd.grad(grad_outputs, tuple(params.values()), ones, allow_unused=True)
        half_dtypes = recorder.dtypes.intersection(HALF)
        if half_dtypes and objective.like.dtype not in HALF:
            raise make_half_precision_error(objective, run, half_dtypes, "the backward pass of ")
        return
    cause = locate_difference(objective, lambda: objective.outputs(objective.params, batch), run)
    raise InputError(
        cause,
        "the same outputs with and without gradients",
        f"a difference of {max_difference(grad_outputs.detach(), outputs):.1e}",
        "Look for a fast path of inference, such as enable_nested_tensor, and switch it off.",
    )


@torch.no_grad()
def _check_padding(objective: Objective, table: Examples, outputs: Tensor) -> None:
    """Refuse outputs of a row that are others beside longer rows, or in a model not used before."""
    ids, same = select_probe_rows(table, TRIAL_ROWS), make_rounding_test(outputs, objective)
    has_varied_lengths = bool((table.lengths != table.lengths[0]).any())
    for place in table.lengths[ids].argsort(descending=True).tolist():
        expected, batch = outputs[place : place + 1], table.take(ids[place : place + 1])
        with translate_model_errors(objective):
            fresh_outputs = objective.make_fresh_copy().outputs(objective.params, batch)
            is_same = bool(same(fresh_outputs, expected).all())
            if is_same and not has_varied_lengths:
                continue
            repeated_outputs = objective.outputs(objective.params, batch)  # after a longer one
        location = f"in row {int(ids[place])}"
        if not same(repeated_outputs, fresh_outputs).all():
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on what the model was given before",
                f"a difference of {max_difference(repeated_outputs, fresh_outputs):.1e} {location}",
                "Look for what is kept from one call to the next: a cache, a setting, a statistic.",
            )
        if not is_same:
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on the longer rows of its batch",
                f"a difference of {max_difference(fresh_outputs, expected):.1e} {location}",
                "Look for padding that is read; give the model a mask.",
            )


def _make_nondeterminism_error(objective: Objective, run: ForwardFn) -> InputError:
    return InputError(
        locate_difference(objective, run, run),
        "the same outputs each time in evaluation mode",
        "other outputs for the same rows",
        "Look for dropout or sampling that evaluation mode does not switch off: "
        "F.dropout(x, p, self.training).",
    )


@contextmanager
def translate_model_errors(objective: Objective) -> Iterator[None]:
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
