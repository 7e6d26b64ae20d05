"""Settings of a transformers Trainer that a record of its training can or cannot represent."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from fastif.errors import InputError
from fastif.models.adapter import strip_wrappers
from fastif.unrolled.optimizer_spec import OptimizerKind, OptimizerSpec, ParameterGroup

WHERE = "RecordTraining"
KINDS: dict[type, OptimizerKind] = {
    torch.optim.AdamW: "adamw",
    torch.optim.Adam: "adam",
    torch.optim.SGD: "sgd",
}
ADAM_CONSTANTS, SGD_CONSTANTS = ("betas", "eps"), ("momentum", "dampening", "nesterov")
MAX_SHOWN = 3


def check_arguments(args: TrainingArguments, has_loss: bool) -> None:
    """Refuse arguments whose training cannot be repeated exactly from a record.

    Args:
        args: Arguments of the Trainer.
        has_loss: Whether the user named the loss of the training.

    Raises:
        InputError: With the argument and the change that makes it recordable.
    """
    for name in ("fp16", "bf16"):
        if getattr(args, name, False):
            _refuse(name, "training in single precision", "True", f"Set {name}=False.")
    for name, what in (("world_size", "one process"), ("n_gpu", "one GPU")):
        if getattr(args, name, 1) > 1:
            got = f"{getattr(args, name)}"
            _refuse(name, what, got, "Restrict the training, such as CUDA_VISIBLE_DEVICES=0.")
    for name in ("deepspeed", "fsdp"):
        if getattr(args, name, None):
            _refuse(name, "an unsharded model", "a sharded one", f"Leave {name} out.")
    if getattr(args, "neftune_noise_alpha", None):
        got = f"{args.neftune_noise_alpha}"
        _refuse("neftune_noise_alpha", "no noise", got, "Leave neftune_noise_alpha out.")
    if args.label_smoothing_factor and not has_loss:
        smoothing = f"{args.label_smoothing_factor:g}"
        remedy = f"Name it: RecordTraining(folder, CrossEntropy(label_smoothing={smoothing}))."
        _refuse("label_smoothing_factor", "the loss of the training", smoothing, remedy)


def check_modules(model: Any) -> None:
    """Refuse modules with randomness or batch statistics in training mode.

    Raises:
        InputError: With the first such module.
    """
    rates = list(_list_random_modules(model))
    if rates:
        settings = model.config.to_dict()
        keys = [key for key, value in settings.items() if "drop" in key and _is_positive(value)]
        zeros = ", ".join(f"{key}=0.0" for key in keys)
        remedy = "Set the dropout to 0" + (f": from_pretrained(..., {zeros})" if keys else "")
        shown = ", ".join(rates[:MAX_SHOWN]) + (", ..." if len(rates) > MAX_SHOWN else "")
        _refuse("model", "a training without dropout", f"{shown}", f"{remedy}.")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            remedy = "Use a model whose outputs for a row do not depend on the rest of its batch."
            _refuse("model", "no statistics of the batch", f"{name or 'model'}", remedy)


def _list_random_modules(model: nn.Module) -> Iterator[str]:
    """Yield the rate of each module that drops values at random."""
    for name, module in model.named_modules():
        settings: dict[str, object] = dict(vars(module))
        if "drop" not in type(module).__name__.lower():
            settings = {key: value for key, value in settings.items() if "drop" in key.lower()}
        for key, value in settings.items():
            if _is_positive(value):
                yield f"{key} = {value:g} of {name or 'model'}"


def _is_positive(value: object) -> bool:
    return isinstance(value, float) and value > 0


def read_trained_params(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that require gradients, by name; of a PEFT model as in its objective.

    Raises:
        InputError: There are none, or they are not all of single or of double precision.
    """
    params: dict[str, Tensor] = {
        strip_wrappers(name): tensor
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    }
    types = {tensor.dtype for tensor in params.values()}
    if types not in ({torch.float32}, {torch.float64}):
        got = ", ".join(sorted(f"{kind}" for kind in types)) or "no parameter that requires one"
        remedy = "Load the model with dtype=torch.float32, and freeze what is not trained."
        _refuse("model", "gradients in single precision", got, remedy)
    return params


def read_optimizer(
    optimizer: Any, params: Mapping[str, Tensor], max_grad_norm: float | None
) -> tuple[torch.optim.Optimizer, OptimizerSpec, tuple[ParameterGroup, ...]]:
    """Read kind, constants and groups of a torch optimiser.

    Args:
        optimizer: AdamW, Adam or SGD of torch, possibly wrapped by accelerate.
        params: Trained parameters by name.
        max_grad_norm: Largest norm of the gradient; None or 0 for no clipping.

    Raises:
        InputError: Another optimiser or option, or other parameters than the trained ones.
    """
    plain = optimizer
    while not isinstance(plain, torch.optim.Optimizer) or type(plain) not in KINDS:
        inner = getattr(plain, "optimizer", None)
        if inner is None:
            remedy = 'Train with optim="adamw_torch", or with torch.optim.AdamW, Adam or SGD.'
            got = f"{type(plain).__module__}.{type(plain).__name__}"
            _refuse("optimizer", "AdamW, Adam or SGD of torch.optim", got, remedy)
        plain = inner
    groups = plain.param_groups
    for option in ("amsgrad", "maximize"):
        if any(group.get(option) for group in groups):
            _refuse("optimizer", f"{option}=False", "True", f"Leave {option} out.")
    kind = KINDS[type(plain)]
    if kind == "adam" and groups[0].get("decoupled_weight_decay"):
        kind = "adamw"
    constants = SGD_CONSTANTS if kind == "sgd" else ADAM_CONSTANTS
    values = {name: groups[0][name] for name in constants}
    for name, value in values.items():
        if any(group[name] != value for group in groups):
            remedy = (
                "Give all groups of parameters the same constants; rates and decays may differ."
            )
            _refuse("optimizer", f"one value of {name}", "several", remedy)
    for name in set(values) - {"betas", "nesterov"}:
        values[name] = float(values[name])
    if "betas" in values:
        values["betas"] = tuple(float(beta) for beta in values["betas"])
    spec = OptimizerSpec(kind, **values, max_grad_norm=float(max_grad_norm or 0) or None)
    return plain, spec, _read_groups(plain, params)


def _read_groups(
    optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]
) -> tuple[ParameterGroup, ...]:
    names = {id(tensor): name for name, tensor in params.items()}
    unknown = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in names]
    groups = [
        [names.get(id(tensor), "") for tensor in group["params"]]
        for group in optimizer.param_groups
    ]
    missing = sorted(set(params) - {name for group in groups for name in group})
    if unknown or missing:
        got = f"{missing[0]} left out" if missing else f"{len(unknown)} others"
        remedy = "Freeze what the optimiser leaves out: `parameter.requires_grad_(False)`."
        _refuse("optimizer", "the parameters that require gradients", got, remedy)
    return tuple(
        ParameterGroup(tuple(part), float(group["weight_decay"]))
        for part, group in zip(groups, optimizer.param_groups, strict=True)
    )


def check_accumulation(args: TrainingArguments, model: nn.Module, loader: DataLoader) -> None:
    """Refuse steps whose accumulated batches differ in size where each of them has one weight.

    Raises:
        InputError: The last batch of an epoch is smaller than those it is accumulated with.
    """
    if getattr(model, "accepts_loss_kwargs", True) or not hasattr(loader.dataset, "__len__"):
        return
    size, count = args.train_batch_size, args.gradient_accumulation_steps
    rest = len(loader.dataset) % size  # type: ignore[arg-type]
    if rest and len(loader) % count != 1 % count and not args.dataloader_drop_last:
        _refuse(
            "gradient_accumulation_steps",
            "accumulated batches of equal size, since each has the same weight",
            f"a last batch of {rest} rows instead of {size}",
            "Set dataloader_drop_last=True, or gradient_accumulation_steps=1.",
        )


def _refuse(name: str, expected: str, got: str, remedy: str) -> None:
    raise InputError(f"{WHERE}: {name}", expected, got, remedy)
