"""Model of a study that is any torch module, made by a function of an installed package."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

import fastif
from fastif import InputError
from fastif.data.collated_examples import Collate, CollatedExamples
from fastif.data.torch_forms import as_loss
from fastif.losses import BinaryCrossEntropy, Loss
from fastif.losses.sample_weighted import SampleWeighted
from fastif.models.binary_logit import BinaryLogitObjective
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.data.row_values import read_rows
from tasks.models.loaded_model import LoadedModel
from tasks.models.model_function import ModelFunction, import_model_function
from tasks.models.own_outputs import check_outputs
from tasks.models.pipeline_statements import check_pipeline_statements
from tasks.models.target_outputs import make_query_loss, make_targets, make_training_loss
from tasks.study.errors import format_value
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, MULTI_LABEL, ONE_CLASS

_digests: dict[object, str] = {}
CHUNK = 2**24
"""Bytes of a tensor that are hashed at a time."""


@dataclass(frozen=True, eq=False)
class OwnModel:
    """Module, loss and collate function, as the function of a study returned them.

    Attributes:
        module: Trained module.
        loss: Loss of training: cross-entropy, or the binary one for a single logit; None for that
            of the study.
        collate: Function from a list of rows, mappings from column to value, to its inputs.
        has_single_logit: Whether the module has one output for two labels.
        reduction: Reduction of the binary loss that the function returned.
        features: Module from the same inputs to features for the search for wrong labels; None if
            the function returned three values.
    """

    module: nn.Module
    loss: fastif.CrossEntropy | None
    collate: Collate
    has_single_logit: bool = False
    features: nn.Module | None = None
    reduction: str = "mean"


def load_own_model(
    inputs: Inputs, folder: Path, digest: str | None, device: torch.device
) -> LoadedModel:
    """Call the function of `[model] factory`, and return its module with the loss of training.

    Args:
        inputs: Study and tables.
        folder: Folder of the model, the argument of the function.
        digest: Digest of the model with which the run was planned; None if there is none.
        device: Device of the module.

    Raises:
        InputError: The function cannot be used, or does not make the same model at each call.
    """
    study = inputs.study
    function, model = call_factory(study, folder)
    if digest is not None and _compute_digest(study, function, model) != digest:
        raise make_weights_error(function)
    check_pipeline_statements(study, model.module, len(inputs.train))
    loss = _select_loss(study, inputs.train, model)
    is_binary = model.has_single_logit and study.target == CLASS
    kind = BinaryLogitObjective if is_binary else fastif.ModuleObjective
    chosen = study.parameters.selection
    attributed = "all" if chosen == "all" else [chosen] if isinstance(chosen, str) else chosen
    query_loss = make_query_loss(study)
    module, output = model.module.to(device), study.model.output
    objective = kind(module, loss, attributed, query_loss, study.penalty, output)

    def encode_table(table: Table) -> CollatedExamples:
        labels = make_targets(study, table)
        rows = read_rows(study.train, table)  # the names that the collate function knows
        return CollatedExamples(rows, labels, model.collate, device, study.run.batch_size)

    return LoadedModel(objective, encode_table, partial(check_outputs, study))


def call_factory(study: Study, folder: Path) -> tuple[ModelFunction, OwnModel]:
    """Call the function of `[model] factory`, after the warning that its code is run.

    Raises:
        InputError: The function cannot be used.
    """
    function = _import_function(study)
    announce_notes([function.warning])
    return function, _call_function(function, folder)


def compute_own_digest(study: Study, folder: Path) -> str:
    """Return the digest of a model of `[model] factory`: its weights, and the code of its package.

    Raises:
        InputError: The function cannot be used.
    """
    function = _import_function(study)
    code = function.compute_digest()
    key = (function.name, folder, code, _list_files(folder), study.model.output)
    if key not in _digests:
        first, second = (
            _compute_digest(study, function, _call_function(function, folder)) for _ in range(2)
        )
        if first != second:
            raise make_weights_error(function)
        _digests[key] = first
    return _digests[key]


def _list_files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return path, size and time of change of every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = ((str(path), path.stat()) for path in files)
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def make_weights_error(function: ModelFunction) -> InputError:
    """Return the refusal of a function that does not make the same model at each call."""
    return InputError(
        f"model {function.name}",
        "the same weights at each call",
        "other weights than at the call before",
        "Load trained weights from the folder that the function gets, or fix the random seed.",
    )


def _import_function(study: Study) -> ModelFunction:
    assert study.model.factory is not None
    return import_model_function(study.model.factory)


def _call_function(function: ModelFunction, folder: Path) -> OwnModel:
    """Call the function with the folder, and check what it returns."""
    where = f"model {function.name}"
    try:
        product = function.call(folder)
    except Exception as error:  # code of the user may raise anything
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = f"It was called with one argument, the path {folder}; correct the function."
        raise InputError(where, "a function that returns a model", got, remedy) from error
    if not isinstance(product, tuple) or len(product) not in (3, 4):
        raise InputError(
            where,
            "module, loss and collate function, a tuple of three, or of four with features",
            type(product).__name__ + (f" of {len(product)}" if isinstance(product, tuple) else ""),
            "Return (module, None, collate) for the cross-entropy of the study's [loss].",
        )
    module, loss, collate, features = (*product, None)[:4]
    if not isinstance(module, nn.Module):
        raise InputError(
            where, "a torch module as first value", type(module).__name__, _explain_module(module)
        )
    if not callable(collate):
        remedy = "Return a function from a list of rows, mappings from column to value, to tensors."
        raise InputError(where, "a collate function", type(collate).__name__, remedy)
    if not isinstance(features, nn.Module | None):
        remedy = "Return a module from the inputs of the first one to features, or three values."
        raise InputError(where, "a torch module as fourth value", type(features).__name__, remedy)
    if isinstance(loss, nn.BCEWithLogitsLoss) and loss.weight is None and loss.pos_weight is None:
        return OwnModel(module.eval(), None, collate, True, features, loss.reduction)
    return OwnModel(module.eval(), _as_cross_entropy(loss, where), collate, features=features)


def _explain_module(module: object) -> str:
    """Return the remedy of a model that is no torch module."""
    if type(module).__module__.startswith("keras"):
        return "Keras models are torch modules with KERAS_BACKEND=torch only."
    if type(module).__module__.startswith("setfit"):
        return "Return one torch module: the sentence transformer's body and a torch head."
    return "Return the trained nn.Module itself."


def _as_cross_entropy(loss: object, where: str) -> fastif.CrossEntropy | None:
    """Return a loss as cross-entropy; None stays None, for that of the study."""
    if loss is None:
        return None
    converted = as_loss(loss)
    if isinstance(converted, fastif.CrossEntropy):
        return converted
    raise InputError(
        where,
        "a cross-entropy as loss: a study explains classifiers of one label a row",
        type(loss).__name__,
        "Use the library for other losses, see docs/guides/library.md.",
    )


def _select_loss(study: Study, train: Table, model: OwnModel) -> Loss:
    """Return the loss of training, which is stated in one place only.

    Raises:
        InputError: Function and study state different losses, or the labels do not fit one logit.
    """
    stated = make_training_loss(study, train)
    if study.target not in ONE_CLASS:
        return _refuse_other_loss(study, model, stated)
    if model.has_single_logit and len(study.labels) != 2:
        raise InputError(
            "labels",
            "two labels for a module with a single logit (BCEWithLogitsLoss)",
            f"{len(study.labels)}",
            "Correct `labels`, or return the cross-entropy and an output for each label.",
        )
    if model.loss is None or model.loss == stated:
        return stated
    if stated not in (fastif.CrossEntropy(), SampleWeighted(fastif.CrossEntropy())):
        raise InputError(
            "[loss]",
            f"the loss that {study.model.factory} returns, {model.loss}, or no such section",
            f"{stated}",
            "State the loss in one place: return None, or remove [loss].",
        )
    return model.loss if study.train.weight is None else SampleWeighted(model.loss)


def _refuse_other_loss(study: Study, model: OwnModel, stated: Loss) -> Loss:
    """Return the loss that the study states for targets other than classes.

    Raises:
        InputError: The function returns a loss too, other than nn.BCEWithLogitsLoss() for several
            labels.
    """
    is_binary = model.has_single_logit and study.target == MULTI_LABEL
    if model.loss is not None or (model.has_single_logit and not is_binary):
        raise InputError(
            f"model {study.model.factory}",
            f"None as loss with target = {format_value(study.target)}, which [loss] states",
            "a loss of classes",
            "Return (module, None, collate).",
        )
    plain = stated.loss if isinstance(stated, SampleWeighted) else stated
    returned = BinaryCrossEntropy(reduction=model.reduction)
    if is_binary and plain != returned:
        raise InputError(
            "[loss]",
            f"the loss that {study.model.factory} returns, {returned}",
            f"{plain}",
            "State the loss in one place: return None as loss, and set [loss].",
        )
    return stated


def _compute_digest(study: Study, function: ModelFunction, model: OwnModel) -> str:
    """Return the SHA-256 over code, architecture, loss, the chosen output and weights."""
    kind = f"{model.module!r}\n{model.loss}\n{model.has_single_logit}"
    if study.model.output is not None:
        kind += f"\n{study.model.output!r}"
    return compute_module_digest(function, kind, model.module)


def compute_module_digest(function: ModelFunction, kind: str, module: nn.Module) -> str:
    """Return the SHA-256 over code, a description and the weights of a module.

    Args:
        function: Function that made the module.
        kind: Description of the module's use.
        module: Module with the weights.
    """
    hasher = hashlib.sha256(function.compute_digest().encode())
    hasher.update(kind.encode())
    for name, tensor in sorted(module.state_dict().items()):
        hasher.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        for part in numbers.split(CHUNK):
            hasher.update(part.numpy().tobytes())
    return hasher.hexdigest()
