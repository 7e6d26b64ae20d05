"""Check of `fastif doctor`: gradients of the stated loss and of others at the trained weights."""

from fastif import InputError
from fastif.evaluation.loss_statements import LossStatement, list_alternatives
from fastif.evaluation.stationarity import BLOCKS, RATIO, ROWS, compare_statements
from tasks.run.context import RunContext

WORK = 2**36
"""Largest number of parameters times rows times losses, which bounds the time to a minute or so."""


def check_stated_loss(context: RunContext) -> str:
    """Compare the gradient of the stated loss at the weights with that of easily confused ones.

    Raises:
        InputError: Under another loss it is much smaller.
    """
    objective, table = context.objective, context.train_examples
    stated = LossStatement("as stated", objective.loss, objective.penalty)
    batch = table.take(table.lengths.argsort()[:1])
    outputs = objective.outputs(objective.params, batch).shape[1]
    others = list_alternatives(stated, table.labels, outputs)
    if not others or len(table) < 2 * BLOCKS:
        reason = "no other loss to compare" if not others else f"{len(table)} training rows only"
        return f"not compared with others: {reason}"
    parameters = sum(tensor.numel() for tensor in objective.full_model.parameters())
    rows = max(2 * BLOCKS, min(ROWS, WORK // (parameters * (1 + len(others)))))
    first, *rest = compare_statements(objective, table, [stated, *others], rows)
    smaller = [result for result in rest if result.is_smaller]
    if smaller:
        best = max(smaller, key=lambda result: result.ratio)
        times = f"{best.ratio:.1f}" if best.ratio < 100 else "100 or more"
        raise InputError(
            "[loss]",
            "the loss that training minimised",
            f"a gradient at the weights that is {times} times smaller under another: "
            f"{best.statement.name}",
            "Correct [loss] if the model was trained so. Training that stopped early has no zero "
            "gradient under any loss; ignore this if the statement is certain.",
        )
    names = ", ".join(result.statement.name for result in rest)
    return (
        f"mean gradient {first.relative:.2g} of a row's (0 at a minimum); it is not "
        f"{RATIO:g} times smaller under {names}"
    )
