"""Checkpoints that the selection of the estimator tries, as further models of a study."""

from collections.abc import Iterator, Sequence

from tasks.models.checkpoints import Checkpoint, list_checkpoints, search_checkpoints
from tasks.models.locate import compute_model_digest
from tasks.study.estimator_section import EstimatorSection
from tasks.study.study import Study

FRACTIONS = (1 / 8, 1 / 4, 1 / 2)
"""Fractions of the training near which a checkpoint is tried, where a training has many."""

SHOWN = 3
"""Largest number of checkpoints that are named in a note."""


def resolve_estimator(study: Study) -> Study:
    """Return the study with the checkpoints that are tried, in place of "auto".

    There are none if nothing is retrained to select among them, if the study has further models,
    or if scores may be by sketches, whose index is of the final weights. An incremental run has the
    selection of its root run: without sketch scores it has the same training rows.
    """
    section = study.estimator
    is_selected = study.fixed_damping is None and study.training is not None
    may_sketch = study.candidates.has_sketch_scores or getattr(
        study.candidates, "sketch_scores", False
    )
    if not is_selected or may_sketch:
        return _replace(study, EstimatorSection(checkpoints=(), power=0.0))
    if section.checkpoints != "auto":
        return study
    folders = () if study.models else tuple(_find_folders(study))
    return _replace(study, section.model_copy(update={"checkpoints": folders}))


def _replace(study: Study, section: EstimatorSection) -> Study:
    return study.model_copy(update={"estimator": section})


def _find_folders(study: Study) -> list[str]:
    """Return the folders of checkpoints, relative to the study where they are below it."""
    folder = study.resolve(study.model.path)
    if not folder.is_dir():
        return []
    root = study.folder.resolve()
    # In a training of a few steps, two checkpoints may have the same weights.
    distinct = {
        compute_model_digest(checkpoint.folder): checkpoint.folder
        for checkpoint in select_checkpoints(list_checkpoints(folder))
    }
    paths = distinct.values()
    return [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths]


def select_checkpoints(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Select the checkpoints nearest to `FRACTIONS` of the training, at most one of each.

    Examples:
        >>> from pathlib import Path
        >>> saved = [Checkpoint(step / 10, Path(f"checkpoint-{step}")) for step in range(1, 10)]
        >>> [checkpoint.fraction for checkpoint in select_checkpoints(saved)]
        [0.1, 0.2, 0.5]
    """
    if not checkpoints:
        return []
    nearest = {
        min(checkpoints, key=lambda checkpoint: abs(checkpoint.fraction - fraction))
        for fraction in FRACTIONS
    }
    return sorted(nearest)


def describe_checkpoints(study: Study) -> Iterator[str]:
    """Yield notes on checkpoints of the model's training that are not tried, with the reason."""
    folder = study.resolve(study.model.path)
    if not folder.is_dir() or (study.further_models and not study.estimator.folders):
        return
    search = search_checkpoints(folder)
    if search.checkpoints and study.training is None and study.fixed_damping is None:
        names = ", ".join(checkpoint.folder.name for checkpoint in search.checkpoints[:SHOWN])
        yield (
            f"{len(search.checkpoints)} checkpoints of its training are there ({names}); with its "
            'recipe in [training], damping = "auto" tries whether effects at earlier weights '
            "predict retraining better"
        )
    if study.estimator.folders:
        for ignored in search.ignored[:SHOWN]:
            yield f"{ignored.folder.name} is not tried: {ignored.reason}"
