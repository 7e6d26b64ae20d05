"""Objective of a Hugging Face image classifier, with its frozen stages computed once."""

import copy
from contextlib import nullcontext
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from fastif.data.examples import Batch, Examples
from fastif.errors import InputError
from fastif.losses import Loss, Measure
from fastif.models.classifier_head import capture_head_input, extract_logits
from fastif.models.fused_attention import fuse_attention
from fastif.models.gradient_check import check_gradient
from fastif.models.image_stages import select_image_parameters
from fastif.models.layer_split import Attributed
from fastif.models.objective import (
    Objective,
    check_penalty,
    frozen_copy,
    select_attributed_params,
)
from fastif.models.parameters import Params, ParamSpace, check_finite, check_floating
from fastif.models.pixel_shape import make_probe_images, read_pixel_shape
from fastif.models.probe_batch import select_probe_rows
from fastif.models.problem_type import select_loss
from fastif.models.single_precision import is_within_rounding, make_single_precision_copy
from fastif.models.stage_cut import TruncatedImageModel, list_cuts
from fastif.models.trial import check_rows

NOT_CUT = "frozen stages are run each time"
VERIFIED_ROWS = 5
"""Number of rows of a table that are tried."""


class ImageObjective(Objective):
    """Objective of a Hugging Face image classifier (`AutoModelForImageClassification`).

    Stages below the first one that depends on attributed parameters have constant outputs.
    `compute_prefix` runs them once, and `outputs` of a batch with hidden states runs only what is
    above, without pixel values. It is tested against the full model, on random images here and on
    rows of the tables by `verify_shortcuts`; if outputs change, `notes` reports that frozen stages
    run each time.

    Args:
        model: Classifier. It is copied (with shared weights) and not changed.
        attributed: Attributed parameters: "all", "head", "last:K" (the last K stages or layers and
            all that runs after them), or regular expressions on their names.
        loss: Training loss; None for the usual one of the model's `problem_type`.
        measure: Function of a query to explain; None for its loss.
        penalty: L2 weight decay of training, 0 or more, see `Objective`.
        half: Whether half-precision weights stay so, instead of conversion to single precision.

    Attributes:
        full_model: Copy of the model, with all stages.
        cut_note: Reason why frozen stages run each time; None if they do not or there are none.

    Raises:
        InputError: If nothing matches `attributed`, a weight is not finite or is quantised, the
            loss does not fit the `problem_type`, the model reads more than pixel values, or
            outputs depend on other images of the batch.

    Examples:
        >>> from transformers import ViTConfig, ViTForImageClassification
        >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        >>> config = ViTConfig(num_hidden_layers=3, image_size=8, patch_size=4, **size)
        >>> objective = ImageObjective(ViTForImageClassification(config), "head")
        >>> objective.space.names, objective.hidden_width
        (('classifier.weight', 'classifier.bias'), 8)
    """

    def __init__(
        self,
        model: PreTrainedModel,
        attributed: Attributed,
        loss: Loss | None = None,
        measure: Measure | None = None,
        penalty: float = 0.0,
        half: bool = False,
    ) -> None:
        self.name = f"model {model.config._name_or_path or type(model).__name__}"
        self.full_model: PreTrainedModel
        self.full_model, self._precision = make_single_precision_copy(model, half)  # type: ignore[override]
        check_finite(self.full_model, self.name)
        self.loss, self.measure = select_loss(model, loss), measure
        self.penalty = check_penalty(penalty)
        self.pixel_shape = read_pixel_shape(self.full_model, self.name)
        probe = make_probe_images(self.full_model, self.pixel_shape)
        with torch.no_grad():
            names = select_image_parameters(self.full_model, attributed, probe)
        self.params = select_attributed_params(self.full_model, names)
        check_floating(self.params, self.name)
        self.space = ParamSpace.from_params(self.params)
        self._cut: TruncatedImageModel | None = None
        self._unused = frozen_copy(self.full_model)
        self.cut_note: str | None = None
        self._verified: WeakSet[Examples] = WeakSet()
        self._verify_on_probe(probe)

    @property
    def module(self) -> nn.Module:  # type: ignore[override]
        """Model above the frozen stages."""
        return self._cut.module if self._cut else self.full_model

    @property
    def num_frozen_layers(self) -> int:
        """Number of frozen modules that run once; 0 if they run each time or there are none."""
        return len(self._cut.skipped) if self._cut else 0

    @property
    def hidden_width(self) -> int:
        """Numbers in an image's hidden state above the frozen stages; 0 if they run each time."""
        return torch.Size(self._cut.shape).numel() if self._cut else 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on unusual weights and frozen stages."""
        return tuple(note for note in (self._precision, self.cut_note) if note)

    def compute_prefix(self, batch: Batch) -> Batch:
        """Return the batch with hidden states of frozen stages in place of pixel values."""
        if self._cut is None or "hidden" in batch:
            return batch
        hidden = self._cut.compute_hidden_states(self.full_model, select_pixels(batch))
        others = {name: tensor for name, tensor in batch.items() if name != "pixel_values"}
        return {**others, "hidden": hidden}

    def make_fresh_copy(self) -> "ImageObjective":
        other = copy.copy(self)
        other.full_model, other._cut = frozen_copy(self._unused), None
        return other

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        return self._forward(self._cut, params, self.compute_prefix(batch))

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        batch = self.compute_prefix(batch)

        def call() -> Tensor:
            return self._forward(self._cut, self.params, batch)

        return capture_head_input(self.module, call, self.name)

    @torch.no_grad()
    def verify_shortcuts(self, *tables: Examples) -> None:
        """Test frozen stages on a few rows of each table, and run them each time if that fails.

        Raises:
            InputError: If the model cannot read a row, or its outputs depend on other rows of a
                batch.
        """
        for examples in tables:
            if examples in self._verified or not len(examples):
                continue
            self._verified.add(examples)
            batch = examples.take(select_probe_rows(examples, VERIFIED_ROWS))
            try:
                expected = self._run_each_row(batch)
            except Exception as error:
                raise InputError(
                    self.name,
                    "outputs for each row of the study's tables",
                    f"{type(error).__name__}: {error}".splitlines()[0],
                    "Check that preprocessor_config.json and model belong together.",
                ) from error
            self._check_batch(batch, expected)
            self._check_cut(batch, expected)

    @torch.no_grad()
    def _verify_on_probe(self, probe: Batch) -> None:
        """Truncate the model, and test it on random images."""
        try:
            expected = self._run_each_row(probe)
        except Exception as error:  # the code of a model may raise anything
            self.cut_note = f"{NOT_CUT}: {type(error).__name__} for random images"
            return
        self._check_batch(probe, expected)
        fuse_attention(self, (self.full_model, self._unused), probe)
        if len(self.params) < len(dict(self.full_model.named_parameters())):
            self._make_cut(probe, expected)
        check_gradient(
            self.name,
            self.full_model,
            self.params,
            lambda params, row: self._forward(None, params, row),
            {name: tensor[:1] for name, tensor in probe.items()},
        )

    def _make_cut(self, probe: Batch, expected: Tensor) -> None:
        """Truncate the model at the last point that changes no outputs."""
        cut_note = None
        for make_cut in list_cuts(self.full_model, self.params, select_pixels(probe)):
            try:
                self._cut = make_cut()
            except Exception as error:
                cut_note = f"{NOT_CUT}: {type(error).__name__}"
                continue
            self._check_cut(probe, expected)
            if self._cut is not None:
                self.cut_note = None
                return
        self.cut_note = self.cut_note or cut_note

    def _forward(
        self, cut: TruncatedImageModel | None, params: Params, batch: Batch
    ) -> Float[Tensor, "b c"]:
        module = cut.module if cut else self.full_model
        inputs = cut.make_inputs(batch["hidden"]) if cut else select_pixels(batch)
        with cut.inject_hidden(batch["hidden"]) if cut else nullcontext():
            output = functional_call(module, dict(params), (), inputs)
        count = len(next(iter(inputs.values())))
        return extract_logits(output, count, self.name)

    def _run_each_row(self, batch: Batch) -> Float[Tensor, "b c"]:
        """Return the full model's outputs for each image alone."""
        rows = select_pixels(batch)["pixel_values"].split(1)
        return torch.cat([self._forward(None, self.params, {"pixel_values": row}) for row in rows])

    def _check_batch(self, batch: Batch, expected: Tensor) -> None:
        """Refuse outputs that depend on the other images of a batch."""
        if is_within_rounding(self._forward(None, self.params, batch), expected):
            return
        check_rows(self.make_fresh_copy(), batch)  # the error names the module, if there is one
        raise InputError(
            self.name,
            "outputs of an image that do not depend on the other images of its batch",
            "outputs in a batch that differ from those of single images",
            "Look for batch statistics or randomness in the model in evaluation mode.",
        )

    def _check_cut(self, batch: Batch, expected: Tensor) -> None:
        """Undo the truncation if it changes outputs of images together or alone."""
        if self._cut is None:
            return
        single = [{name: tensor[i : i + 1] for name, tensor in batch.items()} for i in range(2)]
        for rows, outputs in ((batch, expected), *zip(single, expected.split(1), strict=False)):
            if len(outputs) and not self._is_unchanged(rows, outputs):
                self._cut, self.cut_note = None, f"{NOT_CUT}: without them the outputs are others"
                return

    def _is_unchanged(self, batch: Batch, expected: Tensor) -> bool:
        try:
            outputs = self.outputs(self.params, batch)
        except Exception:
            return False  # for example, hidden states of another shape
        return is_within_rounding(outputs, expected)


def select_pixels(batch: Batch) -> dict[str, Tensor]:
    """Return the keyword arguments of an image model: the pixel values of a batch."""
    return {"pixel_values": batch["pixel_values"]}
