"""Trial run of a model and its examples on a few rows, before anything is computed with them.

Influence needs the loss of an example to be a function of this example and the parameters. Models
with randomness in evaluation mode, operations across the batch, or hidden half precision have no
such function, and a loss may not be defined at a target. All of these are refused here, once for
every objective and table, with the name of the module that is the cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

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
"""Number of rows of different lengths that are tried."""
REPEATS, MORE_REPEATS = 3, 16
"""Runs of equal rows: randomness may change only some; and more once a difference was found."""


@dataclass
class _TrialRecord:
    """Record of what was tried for an objective.

    Attributes:
        batch: Whether a batch was tried.
        outputs: Number of outputs of a row, by the tables that were tried; of tagged sentences it
            differs between tables.
    """

    batch: bool = False
    outputs: "WeakKeyDictionary[Examples, int]" = field(default_factory=WeakKeyDictionary)


_records: "WeakKeyDictionary[Objective, _TrialRecord]" = WeakKeyDictionary()


def try_batch(objective: Objective, batch: Batch) -> None:
    """Try the model on rows of a batch, once for each objective.

    Raises:
        InputError: With the name of the module that is the cause.
    """
    objective = get_full_objective(objective)
    check_autocast(objective)
    record = _records.setdefault(objective, _TrialRecord())
    if record.batch:
        return
    few = {name: tensor[:TRIAL_ROWS] for name, tensor in batch.items() if name != COLUMN_WEIGHTS}
    outputs = check_rows(objective, few)
    check_targets(objective.loss, few["labels"], outputs.shape[1], "targets of the first batch")
    record.batch = len(few["labels"]) > 1  # a single row cannot show effects of others


def try_table(
    objective: Objective, examples: ExamplesLike, where: str, measure: Measure | None = None
) -> Examples:
    """Try the model on rows of a table, and check the targets of all rows, once for each pair.

    Args:
        objective: Model to try.
        examples: Table with the rows.
        where: Name of the table for error messages.
        measure: Function that its targets belong to; the loss if omitted.

    Returns:
        The examples in the form of this library.

    Raises:
        InputError: If these are no examples; or with the name of the module, or the rows, that are
            the cause.
    """
    examples, objective = as_examples(examples, where), get_full_objective(objective)
    check_autocast(objective)
    record = _records.setdefault(objective, _TrialRecord())
    if examples in record.outputs or not len(examples):
        return examples
    table = _unwrap_examples(examples)
    if table not in record.outputs:
        batch = _take_repeatable_rows(table, where)
        verify_shortcuts = getattr(objective, "verify_shortcuts", None)
        if verify_shortcuts is not None:
            verify_shortcuts(table)
        outputs = check_rows(objective, batch)
        _check_padding(objective, table, outputs)
        with translate_model_errors(objective):
            check_table_invariance(objective, table)
        record.batch |= len(outputs) > 1
        record.outputs[table] = outputs.shape[1]
    targets = find_targets(examples)
    if targets is not None:
        check_targets(measure or objective.loss, targets, record.outputs[table], where)
    record.outputs[examples] = record.outputs[table]
    return examples


def _unwrap_examples(examples: Examples) -> Examples:
    """Return the examples inside of wrappers that count or cache them; a selection stays."""
    while isinstance(inner := getattr(examples, "examples", None), Examples):
        if len(inner) != len(examples):
            break
        examples = inner
    return examples


def _take_repeatable_rows(table: Examples, where: str) -> Batch:
    """Return a few rows after a check that they are equal each time."""
    ids = select_probe_rows(table, TRIAL_ROWS)
    first, second = table.take(ids), table.take(ids)
    for name, tensor in first.items():
        if tensor.shape != second[name].shape or not _is_equal(tensor, second[name]):
            raise InputError(
                where,
                "the same rows each time they are read",
                f"other {name} of rows {', '.join(map(str, ids.tolist()))} the second time",
                "Remove augmentation and shuffling.",
            )
    return first


def _is_equal(first: Tensor, second: Tensor) -> bool:
    return bool(((first == second) | ((first != first) & (second != second))).all())


@torch.no_grad()
def check_rows(objective: Objective, batch: Batch) -> Float[Tensor, "b c"]:
    """Return the outputs of a few rows, after a comparison of all ways to compute them.

    Raises:
        InputError: If they depend on randomness, on other rows or on gradients, or are in half
            precision.
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
            # Randomness may be the cause of the difference.
            _check_determinism(objective, run, outputs, MORE_REPEATS)
            raise
    return outputs


def _check_determinism(objective: Objective, run: ForwardFn, outputs: Tensor, repeats: int) -> None:
    same = make_rounding_test(outputs, objective)
    if not all(bool(same(run(), outputs).all()) for _ in range(repeats)):
        raise _make_nondeterminism_error(objective, run)


def _check_gradients(objective: Objective, batch: Batch, outputs: Tensor) -> None:
    """Refuse outputs that change, or have no path to the parameters, with gradients enabled.

    A backward pass that fails, or that computes in half precision, is refused too.
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
            f"outputs without a path to any of {len(objective.space.names)} parameters, such as "
            f"{objective.space.names[0]}",
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
    """Refuse outputs that depend on longer rows of the batch, or on previous calls of the model."""
    ids, same = select_probe_rows(table, TRIAL_ROWS), make_rounding_test(outputs, objective)
    has_varied_lengths = bool((table.lengths != table.lengths[0]).any())
    for place in table.lengths[ids].argsort(descending=True).tolist():
        expected, batch = outputs[place : place + 1], table.take(ids[place : place + 1])
        with translate_model_errors(objective):
            fresh_outputs = objective.make_fresh_copy().outputs(objective.params, batch)
            is_same = bool(same(fresh_outputs, expected).all())
            if is_same and not has_varied_lengths:
                continue
            repeated_outputs = objective.outputs(objective.params, batch)  # after a longer row
        location = f"in row {int(ids[place])}"
        if not same(repeated_outputs, fresh_outputs).all():
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on previous calls of the model",
                f"a difference of {max_difference(repeated_outputs, fresh_outputs):.1e} {location}",
                "Look for state that a call leaves for the next: a cache, a setting, a statistic.",
            )
        if not is_same:
            raise InputError(
                type(objective.module).__name__,
                "outputs of a row that do not depend on the longer rows of its batch",
                f"a difference of {max_difference(fresh_outputs, expected):.1e} {location}",
                "Look for operations that read padding; pass a mask to the model.",
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
    """Convert all errors of the model's code into `InputError`, except out-of-memory errors."""
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
            "Call the model on one batch of these examples, in evaluation mode, to find the cause.",
        ) from error
