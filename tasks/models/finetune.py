"""Fine-tuning the classifier of a study, with a record of where its weights came from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from transformers import PreTrainedModel

import fastif
from fastif import InputError
from fastif.models.parameters import Params
from storage import fingerprint, free_bytes
from storage.atomic_folder import in_place
from tasks.data.dataset import Table, one_label, read_table
from tasks.models.locate import base_folder, model_digest
from tasks.models.training_dynamics import write_dynamics
from tasks.models.training_record import (
    RECORD,
    ROWS,
    contents_of,
    settings_of,
)
from tasks.run.context import cached
from tasks.run.spec import MATHEMATICS, check_audited, versions
from tasks.runtime.devices import devices_of
from tasks.runtime.progress import bar
from tasks.study.errors import Problem, StudyError
from tasks.study.study import Study, load_study


@dataclass(frozen=True)
class Trained:
    """Where the checkpoint lies, whether it was there already, and how it came out.

    The loss is plain cross-entropy, whatever was minimised.
    """

    folder: str
    skipped: bool
    loss: float
    accuracy: float


def checkpoint(path: Path) -> Trained | None:
    """The checkpoint that training this study would make, if it is there and unchanged.

    Those on the way to it, which `[training] checkpoints` asks for, are a part of it: where one is
    missing or changed there is none, and the same training makes all of them anew.

    Raises:
        StudyError, InputError: something is wrong with the study, its training table or base model,
            or another's files lie where the model would.
    """
    study, table = _read(path)
    existing = _existing(study, _mark(study, table))
    if existing is None:
        _check_replaceable(study.resolve(study.model.path))
    return existing


@task(name="train-model", cache_policy=NO_CACHE)
def train_model(path: str) -> Trained:
    """Train the study's model, unless the same checkpoint exists."""
    existing = checkpoint(Path(path))
    if existing is not None:
        return existing
    study, table = _read(Path(path))
    return _train(study, table, study.resolve(study.model.path), _mark(study, table))


def _read(path: Path) -> tuple[Study, Table]:
    study = load_study(path)
    check_audited(study)
    if study.training is None:
        problem = Problem(
            "[training]", "a section that says how to train", "none", "add one; see `fastif init`"
        )
        raise StudyError(path, [problem])
    table = read_table(study.train, study.labels, study.folder, "train")
    if problems := one_label(study.labels, table):
        raise StudyError(path, problems)
    return study, table


def _mark(study: Study, table: Table) -> str:
    """Names the checkpoint by everything it depends on."""
    assert study.training is not None
    return fingerprint(
        {
            "mathematics": MATHEMATICS,
            "base": model_digest(base_folder(study)),
            "train": table.digest,
            "labels": list(study.labels),
            "max_length": study.model.max_length,
            "training": study.training.model_dump(mode="json", exclude={"base"})
            | {"weight_decay": study.weight_decay},
            **study.loss_parts,
        }
    )


def _existing(study: Study, mark: str) -> Trained | None:
    assert study.training is not None
    folder = study.resolve(study.model.path)
    record = _record(folder, mark)
    on_the_way = (folder / checkpoint_name(part) for part in study.training.checkpoints)
    if record is None or any(_record(inside, mark) is None for inside in on_the_way):
        return None
    return Trained(str(folder), True, record["loss"], record["accuracy"])


def _record(folder: Path, mark: str) -> dict | None:
    """The record of a saved model, if it is of this training and the files are as they were."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    same = record.get("fingerprint") == mark and record.get("model_digest") == model_digest(folder)
    return record if same else None


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        remedy = "Name a new folder, or move this file away."
        raise InputError(f"[model] path {folder}", "a folder", "a file", remedy)
    if folder.exists() and not (folder / RECORD).exists() and any(folder.iterdir()):
        raise InputError(
            f"[model] path {folder}",
            "a new folder, or one that `fastif train` made before",
            "a folder with other files",
            "Name another folder, or move these files away.",
        )


def _check_room(study: Study, folder: Path, base: Path) -> None:
    """Refuse a disk without room for the model, and the checkpoints on the way to it."""
    assert study.training is not None
    each = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    needed, free = (1 + len(study.training.checkpoints)) * each, free_bytes(folder)
    if needed > free:
        raise InputError(
            f"[model] path {folder}",
            f"room for about {needed / 1e6:,.1f} MB",
            f"{free / 1e6:,.1f} MB free",
            "Free some space, or name a folder on another disk.",
        )


def _train(study: Study, table: Table, folder: Path, mark: str) -> Trained:
    assert study.training is not None
    training = study.training
    base = base_folder(study)
    _check_room(study, folder, base)
    device = devices_of(study.run.devices)[0].torch
    objective = new_objective(study, base, table, training.seed, device)
    model = objective.whole
    tokenizer = fastif.load_tokenizer(base, model)
    fastif.check_length(model, study.model.max_length)
    length = study.model.max_length
    texts = fastif.encode(tokenizer, table.texts, table.text_pairs, table.labels, length, device)
    objective.prove(texts)
    rows = cached(objective, texts, study)
    recipe = recipe_of(study, training.seed)
    with bar("training steps", training.epochs * -(-len(rows) // recipe.batch_size)) as advance:
        kept: dict[float, Params] = {}
        dynamics = fastif.Dynamics(texts.labels)
        params = fastif.fit(
            objective,
            rows,
            recipe,
            lambda *_: advance(1),
            watch=dynamics,
            keep=kept.__setitem__,
            keep_at=training.checkpoints,
        )
    _load(model, params)
    objective.params = params
    outputs, losses = fastif.predict(objective, rows)
    accuracy = (outputs.argmax(1).cpu() == texts.labels).float().mean()
    trained = Trained(str(folder), False, float(losses.mean()), float(accuracy))
    settings = settings_of(study, table, model_digest(base))
    record = {"fingerprint": mark, "recipe": asdict(recipe), "study": settings}
    contents = contents_of(study, table)
    with in_place(folder) as aside:
        _save(model, tokenizer, aside, trained, record)
        contents.write_parquet(aside / ROWS)
        write_dynamics(aside, table, study.labels, dynamics.margins)
        for part, then in kept.items():
            inside = aside / checkpoint_name(part)
            _load(model, then)
            _save(model, tokenizer, inside, None, record)
            contents.write_parquet(inside / ROWS)
    return trained


def checkpoint_name(part: float) -> str:
    """The folder, inside of the model's own, of the model when so much of the training had passed.

    >>> checkpoint_name(0.25)
    'checkpoint-0.25'
    """
    return f"checkpoint-{part:g}"


def _load(model: PreTrainedModel, params: Params) -> None:
    model.load_state_dict(dict(params), strict=False)


def new_objective(
    study: Study, base: Path, table: Table, seed: int, device: torch.device
) -> fastif.TransformerObjective:
    """The base model with a new head drawn from the seed, before it is trained on the table."""
    assert study.training is not None
    trainable = study.training.trainable
    model = _new_classifier(base, study, seed)
    model.to(device)  # type: ignore[arg-type]
    return fastif.TransformerObjective(
        model,
        trainable if isinstance(trainable, str) else list(trainable),
        study.loss.made(table.labels, len(study.labels)),
        fastif.CrossEntropy(),  # how it came out is told in plain loss
    )


def recipe_of(study: Study, seed: int) -> fastif.Recipe:
    """How the study trains."""
    training = study.training
    assert training is not None
    return fastif.Recipe(
        training.epochs,
        training.learning_rate,
        study.weight_decay,
        training.batch_size,
        seed,
        study.loss.weight_decay_kind,
    )


def _new_classifier(base: Path, study: Study, seed: int) -> PreTrainedModel:
    """The base model with a new head of one output unit a label, drawn from the seed."""
    torch.manual_seed(seed)
    return fastif.load_base(base, study.labels)


def _save(
    model: PreTrainedModel, tokenizer: object, folder: Path, trained: Trained | None, record: dict
) -> None:
    """Write a checkpoint with its record; only the end of a training says how it came out."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    outcome = {"loss": trained.loss, "accuracy": trained.accuracy} if trained else {}
    known = {**record, "model_digest": model_digest(folder), **outcome, "versions": versions()}
    (folder / RECORD).write_text(json.dumps(known, indent=2) + "\n")
