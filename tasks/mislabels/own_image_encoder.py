"""Features of images by the module that the function of `[model] factory` returns for them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif import Examples, InputError
from fastif.data.collated_examples import CollatedExamples
from fastif.data.examples import Batch
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests
from tasks.data.row_values import read_rows
from tasks.mislabels.image_features import EMBEDDED, Embed, ImageEncoder
from tasks.models.locate import find_model_folder
from tasks.models.own_features import load_own_features
from tasks.runtime.devices import resolve_devices
from tasks.study.study import Study


@dataclass(frozen=True)
class OwnImageEncoder(ImageEncoder):
    """Module of features that the function of `[model] factory` returned.

    Attributes:
        folder: Folder of the model, the argument of the function.
        digest: Digest of its code and weights.
    """

    @property
    def artifact_kind(self) -> str:
        return f"{EMBEDDED}own-{self.digest[:16]}"

    def hash_images(self, table: Table) -> list[bytes]:
        images = table.measurements.encoded if table.measurements is not None else None
        return content_digests(table) if images is None else super().hash_images(table)

    def load(self, study: Study, table: Table) -> tuple[Embed, Examples]:
        features = load_own_features(study, self.folder, self.digest)
        assert features is not None
        device = resolve_devices(study.run.devices)[0].torch
        labels, rows = torch.tensor(table.labels), read_rows(study.train, table)
        examples = CollatedExamples(rows, labels, features.collate, device)
        return _make_embedding(study.model.factory, features.module.to(device)), examples


def find_own_encoder(study: Study) -> tuple[OwnImageEncoder | None, bool]:
    """Return the module's features, and whether they were fitted to the labels; pixels if none.

    Raises:
        InputError: The function of `[model] factory` cannot be used.
    """
    folder = find_model_folder(study)
    features = load_own_features(study, folder)
    if features is None:
        return None, False
    return OwnImageEncoder(folder, features.digest), features.saw_labels


def describe_own_encoder(study: Study) -> str:
    """Return a sentence on what represents the images of a study with `[model] factory`.

    Raises:
        InputError: The function cannot be used.
    """
    encoder, saw_labels = find_own_encoder(study)
    name = study.model.factory
    if encoder is None:
        return (
            f"Wrong labels: {name} returns no features, so images are compared by their pixels. "
            "Return a module of features as fourth value, or set [mislabels] encoder."
        )
    if saw_labels:
        return (
            f"Wrong labels: the features of {name} have attributed parameters, which were fitted "
            "to the labels, wrong ones included. Return a module that was not trained on them."
        )
    return (
        f"Wrong labels: images are represented by the features of {name}, which must not have "
        "been trained on these labels."
    )


def _make_embedding(name: str | None, module: torch.nn.Module) -> Callable[[Batch], Tensor]:
    """Return the function from a batch to its features, which checks what the module returns."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))

    def embed(batch: Batch) -> Tensor:
        inputs = {
            key: tensor.to(like.dtype) if tensor.is_floating_point() else tensor
            for key, tensor in batch.items()
            if key != "labels"
        }
        args = (inputs.pop("inputs"),) if "inputs" in inputs else ()
        expected = f"features [{len(batch['labels'])} d], finite numbers for each row"
        try:
            features = module(*args, **inputs)
        except Exception as error:  # code of the user may raise anything
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            raise _make_error(name, expected, got) from error
        if not isinstance(features, Tensor):
            raise _make_error(name, expected, type(features).__name__)
        if features.dim() != 2 or len(features) != len(batch["labels"]) or not features.shape[1]:
            raise _make_error(name, expected, f"shape {list(features.shape)}")
        if not features.isfinite().all():
            raise _make_error(name, expected, "a number that is not finite")
        return features

    return embed


def _make_error(name: str | None, expected: str, got: str) -> InputError:
    change = "Correct the module that it returns as fourth value, or return three values."
    return InputError(f"features of {name}", expected, got, change)
