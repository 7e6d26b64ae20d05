"""LoRA adapter that `fastif train` adds to a base (Hu et al., 2021)."""

from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedModel

from fastif.models.adapter import add_lora, import_peft
from fastif.models.hub_snapshot import read_commit, split_revision
from tasks.study.fields import HUB
from tasks.study.training_section import Training


def adapt_base(model: PreTrainedModel, base: Path, training: Training) -> PreTrainedModel:
    """Return a base with a new adapter by the settings of `[training]`; the model is changed.

    Args:
        model: Base with a new head.
        base: Folder of the base.
        training: Section `[training]` of the study, with `lora_rank`.

    Raises:
        InputError: PEFT is not installed, or no layer of the base is targeted.
    """
    rank = training.lora_rank
    assert rank is not None
    targets = training.lora_targets or _find_default_targets(model)
    alpha = 2 * rank if training.lora_alpha is None else training.lora_alpha
    is_hub = training.base.startswith(HUB) and not Path(training.base).exists()
    name, _ = split_revision(training.base.removeprefix(HUB))
    return add_lora(
        model,
        {
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": targets if isinstance(targets, str) else list(targets),
            "modules_to_save": list_new_modules(model),
        },
        name if is_hub else str(base.resolve()),
        read_commit(base) if is_hub else None,
    )


def list_new_modules(model: PreTrainedModel) -> list[str]:
    """Return the modules to train whole: the head, and those that the base has no weights for.

    Args:
        model: Base with a new head.
    """
    head = [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
    random_names: Collection[str] = getattr(model, "random_names", ())
    owners = {name.rpartition(".")[0] for name in random_names}
    inside = [owner for owner in owners if owner.startswith(f"{model.base_model_prefix}.")]
    return head + sorted(inside)


def _find_default_targets(model: PreTrainedModel) -> str | list[str]:
    """Return the layers that PEFT adapts in this architecture, or "all-linear"."""
    peft = import_peft("[training] lora_rank")
    mapping = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    return mapping.get(model.config.model_type, "all-linear")
