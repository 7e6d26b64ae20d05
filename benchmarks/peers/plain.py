"""Workload as a plain torch program, independent of fastif, for other packages.

It is passed to another process as files: weights and tensors as safetensors, and the name and
settings of the class that builds the model. Nothing is pickled.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

import fastif


@dataclass(frozen=True, eq=False)
class Plain:
    """A trained classifier, its training rows and its queries.

    Attributes:
        model: Model in evaluation mode; forward(*inputs) returns logits [b c]; only the attributed
            parameters require a gradient.
        train_inputs: Tensors [n ...], fully padded; the last of several is the attention mask.
        train_labels: Classes, [n].
        query_inputs: Tensors [q ...].
        query_labels: Classes, [q].
    """

    model: nn.Module
    train_inputs: tuple[Tensor, ...]
    train_labels: Tensor
    query_inputs: tuple[Tensor, ...]
    query_labels: Tensor


class Mlp(nn.Sequential):
    """Linear layers with ReLU between them; a linear model for two widths.

    >>> Mlp([4, 3])(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, widths: list[int]) -> None:
        layers: list[nn.Module] = []
        for inside, outside in pairwise(widths):
            layers += [nn.Linear(inside, outside), nn.ReLU()]
        super().__init__(*layers[:-1])
        self.settings = {"widths": list(widths)}

    @classmethod
    def of(cls, objective: fastif.ModuleObjective) -> "Mlp":
        """Return the network of an objective."""
        layers = [layer for layer in objective.module.children() if isinstance(layer, nn.Linear)]
        model = cls([layers[0].in_features, *(layer.out_features for layer in layers)])
        model.load_state_dict({**objective.module.state_dict(), **objective.params})
        return model.eval()


class Tail(nn.Module):
    """Layers of an encoder above the frozen ones, with the head: hidden states to logits.

    Args:
        config: Configuration of the whole Hugging Face model.
        attributed: Names of the parameters that require a gradient.
    """

    def __init__(self, config: dict, attributed: list[str]) -> None:
        super().__init__()
        whole = AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model(**config), attn_implementation="eager"
        )
        objective = fastif.TransformerObjective(whole.eval(), attributed)
        self.module, self._cut = objective.module, objective._cut
        for name, tensor in self.module.named_parameters():
            tensor.requires_grad_(name in attributed)
        self.settings = {"config": config, "attributed": list(attributed)}

    @classmethod
    def of(cls, objective: fastif.TransformerObjective) -> "Tail":
        """Return the layers of an objective."""
        config = json.loads(objective.full_model.config.to_json_string(use_diff=False))
        model = cls(config, list(objective.space.names))
        model.module.load_state_dict({**objective.module.state_dict(), **objective.params})
        return model.eval()

    def forward(
        self, hidden: Float[Tensor, "b t d"], mask: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b c"]:
        """Return logits; the mask is additive already, since its preparation fails in vmap."""
        length = mask.shape[1]
        added = (1 - mask.to(hidden.dtype)) * torch.finfo(hidden.dtype).min
        added = added[:, None, None].expand(-1, 1, length, length)
        # The output of the embeddings is ignored: the first layer receives the hidden states.
        with self._cut.inject_hidden(hidden):
            return self.module(inputs_embeds=hidden, attention_mask=added).logits


BUILDERS: dict[str, type[Mlp] | type[Tail]] = {"Mlp": Mlp, "Tail": Tail}


def make_plain(model: Mlp | Tail, train: fastif.Examples, queries: fastif.Examples) -> Plain:
    """Return the model with its rows as tensors; the frozen part of the examples is computed."""
    return Plain(model, *_tensors(train), *_tensors(queries))


def save_plain(plain: Plain, folder: Path) -> None:
    """Write the files that `load_plain` reads."""
    if not isinstance(plain.model, (Mlp, Tail)):
        raise TypeError(f"no builder makes a {type(plain.model).__name__} again")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value for name, value in plain.model.state_dict().items()}
    for part in ("train", "query"):
        tensors[f"{part}.labels"] = getattr(plain, f"{part}_labels")
        for place, value in enumerate(getattr(plain, f"{part}_inputs")):
            tensors[f"{part}.{place}"] = value.contiguous()
    save_file(tensors, folder / "plain.safetensors")
    model = {"builder": type(plain.model).__name__, "settings": plain.model.settings}
    (folder / "plain.json").write_text(json.dumps(model))


def load_plain(folder: Path) -> Plain:
    """Return a saved workload; the model is built and given its weights."""
    made = json.loads((folder / "plain.json").read_text())
    model = BUILDERS[made["builder"]](**made["settings"])
    tensors = load_file(folder / "plain.safetensors")
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    model.to(next(iter(weights.values())).dtype).load_state_dict(weights)

    def part(name: str) -> tuple[tuple[Tensor, ...], Tensor]:
        count = sum(key.startswith(f"{name}.") for key in tensors) - 1
        return tuple(tensors[f"{name}.{i}"] for i in range(count)), tensors[f"{name}.labels"]

    return Plain(model.eval(), *part("train"), *part("query"))


def _tensors(examples: fastif.Examples) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return all inputs and labels; the mask is last."""
    batch = examples.take(fastif.all_ids(examples))
    names = [name for name in ("inputs", "hidden", "attention_mask") if name in batch]
    return tuple(batch[name] for name in names), batch["labels"]
