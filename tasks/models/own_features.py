"""Features of rows by a torch module of one's own, for the search for wrong labels."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fastif.data.collated_examples import Collate
from fastif.models.parameters import match_names
from tasks.models.model_function import ModelFunction
from tasks.models.own_model import (
    OwnModel,
    call_factory,
    compute_module_digest,
    make_weights_error,
)
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class OwnFeatures:
    """Module of features that the function of `[model] factory` returned as its fourth value.

    Attributes:
        module: Module from the classifier's inputs to features.
        collate: Function from rows to these inputs.
        digest: SHA-256 over its code and weights.
        saw_labels: Whether it has attributed parameters, which were fitted to the labels.
    """

    module: nn.Module
    collate: Collate
    digest: str
    saw_labels: bool


def load_own_features(study: Study, folder: Path, digest: str | None = None) -> OwnFeatures | None:
    """Call the function of `[model] factory` and return its module of features; None without one.

    Args:
        study: Study with the function.
        folder: Folder of the model, the argument of the function.
        digest: Digest of the module at an earlier call; None for the first one.

    Raises:
        InputError: The function cannot be used, or does not make the same module at each call.
    """
    function, model = call_factory(study, folder)
    if model.features is None:
        return None
    current = _compute_digest(function, model.features)
    if digest is not None and digest != current:
        raise make_weights_error(function)
    return OwnFeatures(model.features.eval(), model.collate, current, _has_attributed(study, model))


def _compute_digest(function: ModelFunction, module: nn.Module) -> str:
    return compute_module_digest(function, f"features {module!r}", module)


def _has_attributed(study: Study, model: OwnModel) -> bool:
    """Whether the module of features shares attributed parameters with the classifier."""
    assert model.features is not None
    names = [name for name, _ in model.module.named_parameters()]
    chosen = study.parameters.selection
    patterns = [chosen] if isinstance(chosen, str) else chosen
    attributed = names if chosen == "all" else match_names(names, patterns)
    places = {_locate(model.module.get_parameter(name)) for name in attributed}
    return any(_locate(parameter) in places for parameter in model.features.parameters())


def _locate(parameter: torch.Tensor) -> int:
    """Return the memory address of a parameter; shared and tied ones have the same."""
    return parameter.untyped_storage().data_ptr()
