"""Answer for one query: its flip set with ids and names of labels, and how it was confirmed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EditedRow:
    """Training row of a flip set.

    Attributes:
        position: Position in the training table.
        id: Id of the row.
        text: First text.
        text_pair: Second text of a pair; None for single texts.
        label: Label in the table.
        new_label: New label; None if the row is removed.
        effect: Predicted fall of the margin by this row alone, to first order, in logits.
    """

    position: int
    id: str
    text: str
    text_pair: str | None
    label: str
    new_label: str | None
    effect: float


@dataclass(frozen=True)
class EditedTraining:
    """Training of the model again on edited rows.

    Attributes:
        is_random: Whether the edited rows were as many random ones, not the flip set.
        seed: Random seed of the training.
        prediction: Label that is predicted for the query.
        margin: Margin of the former prediction against the largest other class, in logits.
    """

    is_random: bool
    seed: int
    prediction: str
    margin: float


@dataclass(frozen=True)
class FlipAnswer:
    """Flip set of a query; see `fastif.FlipSet` for the numbers, margins in logits.

    Attributes:
        run: Name of the run.
        query: Position of the query.
        query_id: Id of the query.
        text: First text of the query.
        text_pair: Second text of a pair; None for single texts.
        relabel: Whether rows are relabelled, not removed.
        prediction: Predicted label.
        runner_up: Label with the second largest output.
        rival: Label towards which the rows were selected.
        new_prediction: Label predicted with the rows edited.
        margin: Present margin against the runner-up.
        rival_margin: Present margin against the rival.
        is_flip: Whether the set is predicted to flip the prediction.
        rows: Rows of the set, or the best ones if no set flips the prediction.
        max_rows: Largest number of rows that was tried.
        first_order_size: Size of the smallest set to first order; None if all rows do not suffice.
        first_order_margin: Predicted margin against the rival to first order.
        one_step_margin: Predicted margin after one Newton step.
        corrected_margin: Predicted margin after all Newton steps.
        leverage: Leverage of the rows together.
        residual: Largest relative residual of the linear systems.
        response_residual: Gradient after the last Newton step, relative to that before the first.
        notes: Sentences on what limits the prediction.
        trainings: Trainings on the edited rows; empty without a confirmation.
    """

    run: str
    query: int
    query_id: str
    text: str
    text_pair: str | None
    relabel: bool
    prediction: str
    runner_up: str
    rival: str
    new_prediction: str
    margin: float
    rival_margin: float
    is_flip: bool
    rows: tuple[EditedRow, ...]
    max_rows: int
    first_order_size: int | None
    first_order_margin: float
    one_step_margin: float
    corrected_margin: float
    leverage: float
    residual: float
    response_residual: float | None
    notes: tuple[str, ...]
    trainings: tuple[EditedTraining, ...] = ()
