"""Models of timm, where it is installed: loaded, truncated and differentiated as others are."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("timm")

from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from fastif.data.image_examples import ImageExamples
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import load_image_classifier, load_image_processor
from fastif.models.prefix_cache import PrefixCache
from tests.fastif.models.image_cases import LABELS, NAMES, make_files


@pytest.mark.parametrize("family", ["test_vit", "test_resnet", "test_convnext"])
def test_a_folder_of_timm_is_loaded_and_its_gradients_equal_autograd(family, tmp_path):
    import timm  # type: ignore[misc]

    torch.manual_seed(0)
    settings = timm.get_pretrained_cfg(family).to_dict()
    config = TimmWrapperConfig(architecture=family, pretrained_cfg=settings, **NAMES)  # type: ignore[misc]
    TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    model = load_image_classifier(tmp_path, LABELS)
    processor = load_image_processor(tmp_path, model)
    rows = ImageExamples(make_files(3, side=40), torch.tensor([0, 1, 2]), processor)
    objective = ImageObjective(model, "last:1")
    assert objective.num_frozen_layers > 0
    given = compute_loss_gradients(Gradients(objective), PrefixCache(objective, rows, 2**24))
    weights = [dict(model.named_parameters())[name] for name in objective.space.names]
    batch = rows.take(torch.arange(3))
    for row in range(3):
        logits = model(pixel_values=batch["pixel_values"][row : row + 1]).logits
        loss = F.cross_entropy(logits, batch["labels"][row : row + 1])
        grads = torch.autograd.grad(loss, weights, materialize_grads=True)
        expected = torch.cat([grad.flatten() for grad in grads])
        scale = float(expected.abs().max())
        torch.testing.assert_close(given[row], expected, rtol=1e-3, atol=1e-4 * scale)


def test_relative_positions_of_swin_are_those_of_a_new_model(tmp_path):
    """Buffers that are not saved have their values after loading, too."""
    torch.manual_seed(0)
    sizes = {
        "img_size": 32,
        "window_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
    }
    config = TimmWrapperConfig(
        architecture="swin_tiny_patch4_window7_224", model_args=sizes, **NAMES
    )  # type: ignore[misc]
    made = TimmWrapperForImageClassification(config).eval()
    made.save_pretrained(tmp_path)
    loaded = load_image_classifier(tmp_path, LABELS)
    buffers = dict(made.named_buffers())
    unsaved = [name for name, _ in loaded.named_buffers() if name not in loaded.state_dict()]
    assert unsaved
    for name, buffer in loaded.named_buffers():
        torch.testing.assert_close(buffer, buffers[name])
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded(pixels).logits, made(pixels).logits)
