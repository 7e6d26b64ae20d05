"""Fine-tuning the classifier of a study, with a record of where its weights came from."""

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import fastif
from fastif import InputError
from storage import fingerprint
from tasks.job import cached, compute_device
from tasks.model import base_folder, model_digest
from tasks.plan import MATHEMATICS, versions
from tasks.problems import Problem, StudyError
from tasks.progress import bar
from tasks.study import Study, load_study
from tasks.tables import Table, read_table

RECORD = "fastif-training.json"


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
    if study.training is None:
        problem = Problem(
            "[training]", "a section that says how to train", "none", "add one; see `fastif init`"
        )
        raise StudyError(path, [problem])
    return study, read_table(study.train, study.labels, study.folder, "train")


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
    folder = study.resolve(study.model.path)
    try:
        record = json.loads((folder / RECORD).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if record.get("fingerprint") != mark or record.get("model_digest") != model_digest(folder):
        return None
    return Trained(str(folder), True, record["loss"], record["accuracy"])


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not (folder / RECORD).exists() and any(folder.iterdir()):
        raise InputError(
            f"[model] path {folder}",
            "a new folder, or one that `fastif train` made before",
            "a folder with other files",
            "Name another folder, or move these files away.",
        )


def _train(study: Study, table: Table, folder: Path, mark: str) -> Trained:
    assert study.training is not None
    training = study.training
    base = base_folder(study)
    objective = new_objective(study, base, table, training.seed)
    model = objective.whole
    tokenizer = fastif.load_tokenizer(base, model)
    fastif.check_length(model, study.model.max_length)
    length = study.model.max_length
    texts = fastif.encode(
        tokenizer, table.texts, table.text_pairs, table.labels, length, compute_device()
    )
    rows = cached(objective, texts, study)
    recipe = recipe_of(study, training.seed)
    with bar("training steps", training.epochs * -(-len(rows) // recipe.batch_size)) as advance:
        params = fastif.fit(objective, rows, recipe, lambda *_: advance(1))
    model.load_state_dict(dict(params), strict=False)
    objective.params = params
    outputs, losses = fastif.predict(objective, rows)
    accuracy = (outputs.argmax(1).cpu() == texts.labels).float().mean()
    trained = Trained(str(folder), False, float(losses.mean()), float(accuracy))
    _save(model, tokenizer, folder, trained, {"fingerprint": mark, "recipe": asdict(recipe)})
    return trained


def new_objective(study: Study, base: Path, table: Table, seed: int) -> fastif.TransformerObjective:
    """The base model with a new head drawn from the seed, before it is trained on the table."""
    assert study.training is not None
    trainable = study.training.trainable
    model = _new_classifier(base, study, seed)
    model.to(compute_device())  # type: ignore[arg-type]
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
    with fastif.quiet_loading():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(base),
            num_labels=len(study.labels),
            id2label=dict(enumerate(study.labels)),
            label2id={label: unit for unit, label in enumerate(study.labels)},
            attn_implementation="eager",
            trust_remote_code=False,
        )
    return model.eval()


def _save(
    model: PreTrainedModel, tokenizer: object, folder: Path, trained: Trained, record: dict
) -> None:
    """Write the checkpoint aside, then put it in place as a whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    model.save_pretrained(aside, safe_serialization=True)
    tokenizer.save_pretrained(aside)  # type: ignore[attr-defined]
    record |= {
        "model_digest": model_digest(aside),
        "loss": trained.loss,
        "accuracy": trained.accuracy,
        "versions": versions(),
    }
    (aside / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(aside, folder)
