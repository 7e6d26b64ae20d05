"""Fine-tuning of the classifier of a study, with a record of its training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.data.examples import LabeledExamples
from fastif.models.parameters import Params
from fastif.training.fit import check_config
from fastif.training.training_dynamics import TrainingDynamics
from storage import compute_fingerprint
from storage.atomic_folder import replace_folder
from tasks.data.dataset import Table
from tasks.data.inputs import read_study, read_table_once
from tasks.data.table_checks import check_label_variety
from tasks.models.checkpoints import list_checkpoints
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import compute_model_digest, find_base_folder
from tasks.models.row_predictions import predict_rows
from tasks.models.step_record import StepRecorder, plan_record
from tasks.models.target_outputs import (
    compute_accuracy,
    has_margins,
)
from tasks.models.trained_folder import (
    check_replaceable,
    checkpoint_name,
    describe_checkpoints,
    find_matching_record,
    load_parameters,
    remove_abandoned,
    save_model,
    select_fractions,
)
from tasks.models.training_dynamics import write_dynamics
from tasks.models.training_record import collect_settings, make_content_table
from tasks.models.untrained_model import encode_rows, make_objective
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_bar, progress_stage
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.errors import Problem, StudyError
from tasks.study.study import Study, check_has_audit
from tasks.study.target_kind import CLASS
from tasks.study.tree_study import refuse_trees


@dataclass(frozen=True)
class TrainingResult:
    """Checkpoint of a training, with its quality on the training rows.

    Attributes:
        folder: Folder of the checkpoint.
        skipped: Whether the checkpoint existed already.
        loss: Mean cross-entropy in nats, also if another loss was minimized.
        accuracy: Share of correct predictions, 0 to 1; None for numbers.
        note: Sentence on the checkpoints of the training, and the disk that they take; may be
            empty.
    """

    folder: str
    skipped: bool
    loss: float
    accuracy: float | None
    note: str = ""


def find_checkpoint(path: Path) -> TrainingResult | None:
    """Return the checkpoint of a study's training if it exists and is unchanged, else None.

    The intermediate checkpoints that `[training] checkpoints` states belong to it: if one is
    missing or changed, the training is repeated and writes all of them. With "auto" a model
    without them is not trained again.

    Raises:
        StudyError, InputError: The study, its training table or its base model is invalid, or
            the model's folder holds other files.
    """
    study, table = _read_inputs(path)
    existing = _find_existing(study, _compute_fingerprint(study, table))
    if existing is None:
        check_replaceable(study.resolve(study.model.path))
    return existing


@task(name="train-model", cache_policy=NO_CACHE)
def train_model(path: str) -> TrainingResult:
    """Train the study's model, unless the same checkpoint exists."""
    existing = find_checkpoint(Path(path))
    if existing is not None:
        return existing
    study, table = _read_inputs(Path(path))
    return _train(study, table, study.resolve(study.model.path), _compute_fingerprint(study, table))


def _read_inputs(path: Path) -> tuple[Study, Table]:
    study = read_study(path)
    check_has_audit(study)
    refuse_trees(
        study.path, study.has_trees, "`fastif train`", "train the trees with their library"
    )
    if study.training is None:
        change = "uncomment [training] at the end of the template of `fastif init`, and set base"
        expected = "a section with the training settings"
        raise StudyError(path, [Problem("[training]", expected, "none", change)])
    table = read_table_once(study.train, study.labels, study.folder, "train", kind=study.target)
    if problems := check_label_variety(study.labels, table):
        raise StudyError(path, problems)
    return study, table


def _compute_fingerprint(study: Study, table: Table) -> str:
    """Return the fingerprint of everything the checkpoint depends on."""
    assert study.training is not None
    return compute_fingerprint(
        {
            "mathematics": INFLUENCE_VERSION,
            "base": compute_model_digest(find_base_folder(study)),
            "train": table.digest,
            "labels": list(study.labels),
            **({} if study.target == CLASS else {"target": study.target}),
            "max_length": study.model.max_length,
            "training": {
                **study.training.weight_settings,
                "checkpoints": list(study.training.stated_checkpoints),  # those of "auto" may lack
                "weight_decay": study.weight_decay,
            },
            **study.loss_settings,
        }
    )


def _find_existing(study: Study, training_fingerprint: str) -> TrainingResult | None:
    assert study.training is not None
    folder = study.resolve(study.model.path)
    stated = study.training.stated_checkpoints
    record = find_matching_record(folder, training_fingerprint, stated)
    if record is None:
        return None
    checkpoints = [checkpoint.fraction for checkpoint in list_checkpoints(folder)]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    note = describe_checkpoints(checkpoints, size)
    return TrainingResult(str(folder), True, record["loss"], record["accuracy"], note)


def _train(study: Study, table: Table, folder: Path, training_fingerprint: str) -> TrainingResult:
    assert study.training is not None
    base, seed = find_base_folder(study), study.training.seed
    config = make_training_config(study, seed)
    check_config(config)  # before the folder of the model is made
    fractions, note = select_fractions(study.training, config.count_steps(len(table)), folder, base)
    device = resolve_devices(study.run.devices)[0].torch
    objective = make_objective(study, base, table, seed, device)
    model = objective.full_model
    has_record, record_note = plan_record(study.training, objective, folder, len(fractions))
    note = " ".join(part for part in (note, record_note) if part)
    tokenizer, texts = encode_rows(study, base, objective, table)
    objective.verify_shortcuts(texts)
    rows = cache_hidden_states(objective, texts, study)
    dynamics = TrainingDynamics(torch.tensor(table.labels)) if has_margins(study) else None
    settings = collect_settings(study, table, compute_model_digest(base))
    record = {"fingerprint": training_fingerprint, "recipe": asdict(config), "study": settings}
    contents = make_content_table(study, table)
    remove_abandoned(folder)
    with replace_folder(folder) as temporary:
        recorder = None
        if has_record:
            recorder = StepRecorder(objective, texts, config, temporary)
        saved_params = _fit(objective, rows, config, fractions, (dynamics, recorder))
        load_parameters(model, objective.params)
        trained = _evaluate(study, table, objective, (rows, texts), folder, note)
        outcome = {"loss": trained.loss, "accuracy": trained.accuracy}
        save_model(model, tokenizer, temporary, {**record, **outcome}, contents)
        if dynamics is not None:
            write_dynamics(temporary, table, study.labels, dynamics.margins)
        for fraction, earlier_params in saved_params.items():
            load_parameters(model, earlier_params)
            save_model(model, tokenizer, temporary / checkpoint_name(fraction), record, contents)
    return trained


def _fit(
    objective: fastif.Objective,
    rows: fastif.Examples,
    config: fastif.TrainingConfig,
    checkpoints: Sequence[float],
    callbacks: tuple[TrainingDynamics | None, StepRecorder | None],
) -> dict[float, Params]:
    """Train the objective in place and return the parameters at the intermediate checkpoints."""
    dynamics, recorder = callbacks
    saved_params: dict[float, Params] = {}
    with progress_bar("training", config.count_steps(len(rows)), "steps") as advance:
        objective.params = fastif.fit(
            objective,
            rows,
            config,
            lambda *_: advance(1),
            on_batch=dynamics,
            on_checkpoint=saved_params.__setitem__,
            checkpoint_fractions=checkpoints,
            on_step=recorder,
        )
    if recorder is not None:
        recorder.finish(objective)
    return saved_params


def _evaluate(
    study: Study,
    table: Table,
    objective: fastif.Objective,
    examples: tuple[fastif.Examples, LabeledExamples],
    folder: Path,
    note: str,
) -> TrainingResult:
    rows, texts = examples
    with progress_stage("training rows: predictions", len(rows), is_distinct=True) as track:
        outputs, losses = fastif.predict(objective, track(rows))
    predicted = predict_rows(study, outputs, texts, fastif.all_ids(texts))
    accuracy = compute_accuracy(study, table.targets, predicted)
    return TrainingResult(str(folder), False, float(losses.mean()), accuracy, note)


def make_training_config(study: Study, seed: int) -> fastif.TrainingConfig:
    """Return the optimizer settings of the study's `[training]` section."""
    training = study.training
    assert training is not None
    return fastif.TrainingConfig(
        training.epochs,
        training.learning_rate,
        study.weight_decay,
        training.batch_size,
        seed,
        study.loss.weight_decay_kind,
    )
