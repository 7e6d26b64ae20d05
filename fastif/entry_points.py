"""Entry points: functions of fastif that an installed package of a higher layer implements."""

from importlib.metadata import entry_points
from os import PathLike
from pkgutil import resolve_name
from typing import Any

from fastif.errors import InputError

GROUP = "fastif.audit"
"""Group of entry points in which an installed package names the implementation of `audit`."""
DEFAULT = "tasks.notebook.audit:audit"
"""Implementation of fastif itself, for a checkout whose installed metadata is older."""
OPEN_GROUP, OPEN_DEFAULT = "fastif.open", "tasks.notebook.open_study:open_study"
"""The same of `open`."""


def audit(
    model: Any,
    tokenizer: Any = None,
    train: Any = None,
    queries: Any = None,
    *,
    folder: str | PathLike[str] | None = None,
    text: str | list[str] | None = None,
    label: str | list[str] | None = None,
    labels: list[str] | None = None,
    id: str | list[str] | None = None,
    groups: str | list[str] | None = None,
    parameters: str | list[str] | None = None,
    damping: float | str | None = None,
    budget: str | None = None,
) -> Any:
    """Audit a trained text classifier: which training examples helped or harmed its predictions.

    The removal effect of training example i on query z is the change of the query's loss if the
    example had not been in the training set:

        removal_effect[z, i] = 1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(i)

    A negative effect is harmful. Columns, labels, their order and the text length are inferred, and
    everything else has the defaults of a study that `fastif init` writes. The results are
    those of `fastif audit`.

    Args:
        model: Classifier of transformers, a `Trainer`, the folder of a saved model, or the path of
            a study file; the object is not changed.
        tokenizer: Tokenizer of the model; not needed for a folder, a `Trainer` and a study.
        train: Training examples: a `datasets.Dataset`, a data frame of pandas or Polars, a list of
            dicts, or the path of a table. They have texts, not token ids.
        queries: Examples to explain, in any of these forms.
        folder: Folder for the study file, the tables, the model and the results; a temporary folder
            that is deleted when Python ends, if None.
        text: Text column, or two of them for pairs; inferred if None.
        label: Label column, or two if the tables differ; inferred if None.
        labels: Labels in the order of the model's outputs; inferred if None.
        id: Column of ids, or two if the tables differ; inferred if None, row numbers if no column
            is unique.
        groups: Group columns; inferred if None, none if empty.
        parameters: Attributed parameters, such as "last:1" or "all".
        damping: Damping λ of the curvature, or "auto".
        budget: Time budget, such as "20min".

    Returns:
        Result that displays itself in a notebook. `scores` are the removal effects as a Polars
        LazyFrame, `top(query_id)` the most harmful and most helpful examples of a query,
        `show(train_id)` the queries that an example affects most, `harmful(k)` the most harmful
        examples, `report(path)` writes the report page, and `summary` has the numbers.

    Raises:
        InputError: The model, a table or an argument cannot be used, or fastif was installed
            without its tasks.
        ValueError: The study or one of its tables is invalid.

    Examples:
        >>> import fastif
        >>> fastif.audit("no.toml")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        StudyError: no.toml: file: expected a study file, got no such file
    """
    given = {name: value for name, value in locals().items() if value is not None}
    return _resolve(GROUP, DEFAULT)(**{"model": model, **given})


def open(study: str | PathLike[str]) -> Any:
    """Open an audited study, to explain single predictions while you wait.

    Effects are inner products of the gradient sketches of the latest audit, so that no training
    gradient is computed:

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(row)

    The study needs `kind = "sketch"` in `[candidates]`.

    Args:
        study: Path of the study file.

    Returns:
        Study with a method `explain(texts)`, which returns explanations that display themselves in
        a notebook, and `to_polars()`.

    Raises:
        InputError: There are no sketches of the study's model and training table, or fastif was
            installed without its tasks.
        ValueError: The study or one of its tables is invalid.

    Examples:
        >>> import fastif
        >>> fastif.open("no.toml")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        StudyError: no.toml: file: expected a study file, got no such file
    """
    return _resolve(OPEN_GROUP, OPEN_DEFAULT)(study)


def _resolve(group: str, default: str) -> Any:
    """Load the function of an entry point.

    Raises:
        InputError: No installed package has it.
    """
    name = group.rpartition(".")[2]
    installed = [entry for entry in entry_points(group=group) if entry.name == name]
    try:
        return installed[0].load() if installed else resolve_name(default)
    except ImportError as error:
        raise InputError(
            group,
            "the packages `tasks` and `storage` of fastif",
            f"{error}",
            "Install fastif again: pip install 'fastif[cpu]'",
        ) from error
