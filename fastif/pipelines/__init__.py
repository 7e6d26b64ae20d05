"""Pipelines of scikit-learn with a linear or MLP head, read by skops."""

from pathlib import Path
from typing import Any


def load(folder: Path) -> tuple[Any, Any, Any]:
    """Return module, loss and collate function of `model.skops`, as `[model] factory` needs them.

    Args:
        folder: Folder with the file `model.skops`.
    """
    from fastif.pipelines.fitted_pipeline import read_pipeline
    from fastif.pipelines.pipeline_module import PipelineModule

    pipeline = read_pipeline(folder / "model.skops")
    head = pipeline.head
    loss = None if head.classes is None or head.is_balanced else head.loss
    return PipelineModule(head), loss, pipeline.collate
