"""A Hugging Face sequence classifier as an objective, cut where its frozen layers end."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.func import functional_call
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from fastif.errors import InputError
from fastif.examples import Batch
from fastif.loss import CrossEntropy, Loss
from fastif.objective import Objective, attributed_params, frozen_copy, last_linear_input
from fastif.parameters import Params, ParamSpace, check_finite, matching

Attributed = Literal["all"] | str | Sequence[str]
"""\"all\", \"last:K\" (the last K encoder layers and the head), or regular expressions."""


class TransformerObjective(Objective):
    """A sequence classifier with its cross-entropy.

    Below the first layer with attributed parameters nothing ever changes, so the model is cut
    there: `prefix` runs the frozen part once, and `outputs` of a batch that holds hidden states
    runs only the rest. The cut is found generically (the encoder is the list of
    `num_hidden_layers` equal layers) and checked on a probe; a model that does not give the same
    logits cut as uncut is used uncut.

    Args:
        model: the classifier, with eager attention. Copied (weights shared), not changed.
        attributed: "all", "last:K", or regular expressions on parameter names.
        loss: as trained.

    Raises:
        InputError: nothing matches `attributed`, or a weight is not finite.
    """

    def __init__(
        self, model: PreTrainedModel, attributed: Attributed, loss: Loss | None = None
    ) -> None:
        check_finite(model, f"model {model.config._name_or_path or type(model).__name__}")
        self.loss = loss or CrossEntropy()
        self.whole = frozen_copy(model)
        names = attributed_names(model, attributed)
        self.module, self.cut = _cut(self.whole, names)
        self.params = attributed_params(self.whole, names)
        self.space = ParamSpace.of(self.params)
        if self.cut and not self._cut_is_exact():
            self.module, self.cut = self.whole, 0

    @torch.no_grad()
    def prefix(self, batch: Batch) -> Batch:
        """The batch with its tokens replaced by hidden states at the cut, if there is one."""
        if not self.cut or "hidden" in batch:
            return batch
        hidden = _run_until(self.whole, _encoder(self.whole)[1][self.cut], _inputs(batch))
        return {
            "hidden": hidden,
            **{k: batch[k] for k in ("attention_mask", "labels") if k in batch},
        }

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        inputs = _inputs(self.prefix(batch))
        return functional_call(self.module, dict(params), args=(), kwargs=inputs).logits

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        inputs = _inputs(self.prefix(batch))
        return last_linear_input(
            self.module, lambda: functional_call(self.module, dict(self.params), (), inputs)
        )

    @torch.no_grad()
    def _cut_is_exact(self) -> bool:
        probe = _probe(self.whole)
        try:
            cut = self.outputs(self.params, probe)
        except (RuntimeError, TypeError, ValueError, AttributeError):
            return False
        return torch.allclose(cut, self.whole(**probe).logits, rtol=1e-4, atol=1e-5)


class _Given(nn.Module):
    """In place of the embeddings: the hidden states that were given."""

    def forward(
        self, *args: Tensor | None, inputs_embeds: Tensor | None = None, **_: object
    ) -> Tensor:
        if inputs_embeds is not None:
            return inputs_embeds
        return next(a for a in args if torch.is_tensor(a) and a.is_floating_point())


class _Skip(nn.Module):
    """In place of a frozen layer: its first argument, in a tuple if the layer gives tuples."""

    def __init__(self, tuple_of: int = 0) -> None:
        super().__init__()
        self.tuple_of = tuple_of

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor | tuple:
        return (hidden, *[None] * (self.tuple_of - 1)) if self.tuple_of else hidden


class _ReachedError(Exception):
    """Raised at the cut to end a run early."""


def _inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as keyword arguments of the model."""
    names = {"hidden": "inputs_embeds"}
    return {names.get(k, k): tensor for k, tensor in batch.items() if k != "labels"}


def _probe(model: PreTrainedModel) -> dict[str, Tensor]:
    """Three short texts, one of them padded; three, so that a batch does not pass for a pair."""
    device = next(model.parameters()).device
    ids = torch.arange(5, 23, device=device).view(3, 6) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def _tuple_of(model: PreTrainedModel, layer: nn.Module) -> int:
    """How many things a layer returns in a tuple, hidden states first; 0 if a bare tensor."""
    found: list[int] = []
    handle = layer.register_forward_hook(
        lambda _, __, output: found.append(len(output) if isinstance(output, tuple) else 0)
    )
    try:
        model(**_probe(model))
    except (RuntimeError, TypeError, ValueError):
        return 0  # a model that wants more than tokens is found out by the check of the cut
    finally:
        handle.remove()
    return found[0] if found else 0


def _run_until(model: nn.Module, layer: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Run the model up to `layer` and return the hidden states that it would have been given."""
    found: list[Tensor] = []

    def stop(_: nn.Module, args: tuple, kwargs: dict) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return found[0]


def _layer_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """Name and modules of the encoder's layers: the list of `num_hidden_layers` equal modules."""
    count = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) != count:
            continue
        if len({type(layer) for layer in module}) == 1:
            return name, module
    return None


def _encoder(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Name and modules of the encoder's layers, or a refusal."""
    found = _layer_list(model)
    if found is None:
        raise InputError(
            type(model).__name__,
            "an encoder made of a list of equal layers",
            "none that is recognised",
            'Attribute parameters by regular expressions or "all" instead of "last:K".',
        )
    return found


def _before_encoder(model: PreTrainedModel) -> list[str]:
    """Names of the modules that run before the first encoder layer or beside all of them."""
    found = _layer_list(model)
    if found is None:
        return []
    encoder = found[0].rpartition(".")[0]
    base = encoder.rpartition(".")[0]
    before = []
    for name, _ in model.get_submodule(base).named_children():
        path = f"{base}.{name}" if base else name
        if path == encoder:
            break
        before.append(path)
    beside = [
        f"{encoder}.{name}"
        for name, _ in model.get_submodule(encoder).named_children()
        if f"{encoder}.{name}" != found[0]
    ]
    return before + beside


def attributed_names(model: PreTrainedModel, attributed: Attributed) -> list[str]:
    """The parameter names that "all", "last:K" or a list of patterns stands for.

    Raises:
        InputError: a pattern or K that does not fit the model.
    """
    names = [name for name, _ in model.named_parameters()]
    if attributed == "all":
        return names
    if not isinstance(attributed, str):
        return matching(names, attributed)
    path, layers = _encoder(model)
    found = re.fullmatch(r"last:(\d+)", attributed)
    if not found or not 1 <= int(found[1]) <= len(layers):
        raise InputError(
            "attributed parameters",
            f'"all", a list of patterns, or "last:K" with K from 1 to {len(layers)}',
            repr(attributed),
            "Correct [parameters] attributed.",
        )
    first = len(layers) - int(found[1])
    frozen = [f"{path}.{index}." for index in range(first)]
    frozen += [f"{name}." for name in _before_encoder(model)]
    return [name for name in names if not name.startswith(tuple(frozen))]


def _cut(whole: PreTrainedModel, names: Sequence[str]) -> tuple[PreTrainedModel, int]:
    """The model without what lies below the first attributed layer, and that layer's number."""
    found = _layer_list(whole)
    before = _before_encoder(whole)
    if found is None or any(name.startswith(tuple(f"{b}." for b in before)) for name in names):
        return whole, 0
    path, layers = found
    inside = [int(n[len(path) + 1 :].split(".")[0]) for n in names if n.startswith(f"{path}.")]
    cut = min(inside, default=len(layers) - 1)
    if cut == 0:
        return whole, 0
    module = frozen_copy(whole)
    kept = _encoder(module)[1]
    tuple_of = _tuple_of(whole, layers[0])
    for index in range(cut):
        kept[index] = _Skip(tuple_of)
    encoder = path.rpartition(".")[0]
    for name in before:
        parent, _, child = name.rpartition(".")
        if parent == encoder:
            if "conv" in child:  # DeBERTa-v2 mixes a convolution into the first layer's output
                setattr(module.get_submodule(parent), child, _Skip())
        else:
            first = name == before[0]
            setattr(module.get_submodule(parent), child, _Given() if first else _Skip())
    return module, cut


def load_model(source: str | Path, labels: Sequence[str] | None = None) -> PreTrainedModel:
    """A classifier from a local folder or, by name, from the hub; never with remote code.

    Raises:
        InputError: it cannot be found, weights are missing, or its head does not have these labels.
    """
    model, report = _from_pretrained(AutoModelForSequenceClassification, source, "model")
    if report["missing_keys"]:
        raise InputError(
            f"model {source}",
            "a trained classifier with all its weights",
            f"no weights for {', '.join(sorted(report['missing_keys']))}",
            "Name a fine-tuned classifier, or train one with `fastif train`.",
        )
    if labels is not None:
        _check_head(model, labels, source)
    return model.eval()


def load_tokenizer(source: str | Path, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model.

    Raises:
        InputError: it cannot be found, or its vocabulary is not the model's.
    """
    tokenizer = _from_pretrained(AutoTokenizer, source, "tokenizer")
    rows, words = model.config.vocab_size, len(tokenizer)
    if words > rows or words < 0.9 * rows:
        raise InputError(
            f"tokenizer {source}",
            f"the vocabulary of the model, {rows} entries",
            f"{words}",
            "Put the files of the tokenizer it was trained with into the model's folder.",
        )
    return tokenizer


def _from_pretrained(auto: type, source: str | Path, what: str):
    folder = Path(source)
    if (str(source).startswith((".", "/", "~")) or len(folder.parts) > 2) and not folder.is_dir():
        raise InputError(
            f"{what} {source}",
            "a folder with a saved model",
            "no such folder",
            "Correct [model] path, or run `fastif train` first.",
        )
    options = {"attn_implementation": "eager", "output_loading_info": True}
    options = options if what == "model" else {}
    try:
        with quiet_loading():
            return auto.from_pretrained(str(source), trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{what} {source}",
            "a local folder with a saved model, or the name of a hub model that can be reached",
            str(error).strip().splitlines()[0],
            "Check the path; without a network, download the model to a folder and name that.",
        ) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Load a model without reports and progress bars; what matters is checked by us."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _check_head(model: PreTrainedModel, labels: Sequence[str], source: str | Path) -> None:
    config = model.config
    if config.num_labels != len(labels):
        raise InputError(
            f"model {source}",
            f"{len(labels)} output units, one a label of the study",
            f"{config.num_labels}",
            "Correct `labels` in the study, or take the model that was trained on them.",
        )
    named = [str(name) for _, name in sorted((config.id2label or {}).items())]
    if set(named) == set(labels) and named != list(labels):
        raise InputError(
            f"model {source}",
            f"labels in the order of the model's output units, {named}",
            f"{list(labels)}",
            "Put `labels` of the study into the model's order.",
        )


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse a `max_length` that the model has no positions for.

    Raises:
        InputError: naming the longest that it takes.
    """
    positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if not isinstance(positions, nn.Embedding):
        return  # relative positions only
    reserved = 0 if positions.padding_idx is None else positions.padding_idx + 1
    longest = positions.num_embeddings - reserved
    if max_length > longest:
        raise InputError(
            "[model] max_length",
            f"at most {longest}, the positions the model has",
            f"{max_length}",
            f"Set max_length = {longest}; longer texts are cut and counted.",
        )
