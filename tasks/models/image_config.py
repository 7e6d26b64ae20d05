"""Configurations of image classifiers, recognised without loading a library."""

from collections.abc import Mapping
from typing import Any

SUFFIX, TIMM = "ForImageClassification", "timm_wrapper"


def is_image_config(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an image classifier, of transformers or of timm.

    >>> is_image_config({"architectures": ["ViTForImageClassification"]}), is_image_config({})
    (True, False)
    """
    kinds = [str(kind) for kind in config.get("architectures") or []]
    is_timm = config.get("model_type") == TIMM or "pretrained_cfg" in config
    return is_timm or any(kind.endswith(SUFFIX) for kind in kinds)
