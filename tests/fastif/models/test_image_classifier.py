"""Image classifiers: exact frozen stages, gradients of autograd, effects of a dense solve."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastif
from fastif.data.image_examples import ImageExamples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.gradients.route import get_route
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import PixelProcessor
from fastif.models.image_stages import find_stages
from fastif.models.prefix_cache import PrefixCache
from tests.fastif.models.image_cases import make_files, make_image_model

FAMILIES = ("vit", "dinov2", "convnext", "resnet", "swin")


class PlainProcessor:
    """Processor that only scales pixels, and counts the images that it has read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, images, return_tensors):
        self.reads += 1
        rows = [torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1 for image in images]
        return {"pixel_values": torch.stack(rows)}


def make_examples(count: int = 6, **keys) -> ImageExamples:
    labels = torch.arange(count) % 3
    return ImageExamples(make_files(count), labels, PixelProcessor(PlainProcessor(), 3), **keys)


def dense_gradients(objective: ImageObjective, model, examples: ImageExamples) -> Tensor:
    """Gradients by autograd through the untouched model in double precision, image by image."""
    batch = examples.take(fastif.all_ids(examples))
    model = model.double()
    weights = [dict(model.named_parameters())[name] for name in objective.space.names]
    rows = []
    for pixels, label in zip(batch["pixel_values"].double(), batch["labels"], strict=True):
        loss = F.cross_entropy(model(pixel_values=pixels[None]).logits, label[None])
        grads = torch.autograd.grad(loss, weights, materialize_grads=True)
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attributed", ["head", "last:1", "all"])
def test_gradients_of_truncated_models_equal_autograd(family, attributed):
    model, examples = make_image_model(family), make_examples()
    objective = ImageObjective(model, attributed)
    assert (objective.num_frozen_layers > 0) == (attributed != "all")
    assert objective.cut_note is None
    cached = PrefixCache(objective, examples, budget_bytes=2**20)
    given = compute_loss_gradients(Gradients(objective), cached).double()
    expected = dense_gradients(objective, model, examples)
    torch.testing.assert_close(given, expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("family", ["vit", "dinov2", "convnext", "resnet"])
def test_gradients_of_the_last_stage_come_from_hooks(family):
    objective = ImageObjective(make_image_model(family), "last:1")
    compute_loss_gradients(Gradients(objective), make_examples())
    assert str(get_route(objective)) == "hooks"


def test_cached_images_are_neither_decoded_nor_run_again(tmp_path):
    processor = PlainProcessor()
    examples = ImageExamples(
        make_files(5), torch.arange(5) % 3, PixelProcessor(processor, 3), budget_bytes=0
    )
    objective = ImageObjective(make_image_model("resnet"), "last:1")
    cached = PrefixCache(objective, examples, budget_bytes=2**20)
    reads, ids = processor.reads, torch.tensor([3, 0])
    batch = cached.take(ids)
    assert processor.reads == reads
    assert set(batch) == {"hidden", "labels"}
    outputs = objective.outputs(objective.params, batch)
    full = objective.full_model(pixel_values=examples.take(ids)["pixel_values"]).logits
    torch.testing.assert_close(outputs, full, rtol=1e-5, atol=1e-6)
    # The same states in a file on disk.
    HiddenStateFile.write(tmp_path, objective, examples, [torch.tensor([0, 1]), torch.tensor([3])])
    from_file = PrefixCache(objective, examples, 0, file=HiddenStateFile(tmp_path)).take(ids)
    torch.testing.assert_close(from_file["hidden"], batch["hidden"])


def test_effects_of_a_head_equal_a_dense_solve():
    model, train = make_image_model("convnext"), make_examples(8)
    objective = ImageObjective(model, "head")
    queries = train.subset(torch.tensor([1, 4]))
    cached = PrefixCache(objective, train, budget_bytes=2**20)
    operator = fastif.GaussNewton(objective, cached).with_damping(0.1)
    answer = fastif.Attributor(
        objective, cached, operator, fastif.Dual(), fastif.ExhaustiveSearch(), leverage="off"
    )(queries)
    effects = torch.empty(2, 8).scatter_(1, answer.influences.ids, answer.influences.removal_effect)
    # H of a linear softmax head, from the definition: mean of (diag p - p pᵀ) ⊗ (x x^T).
    inputs = torch.cat([objective.embed(train.take(fastif.all_ids(train))), torch.ones(8, 1)], 1)
    inputs = inputs.double()
    head = dict(model.named_parameters())
    weights = torch.cat([head["classifier.weight"], head["classifier.bias"][:, None]], 1).double()
    shares, labels = (inputs @ weights.T).softmax(1).detach(), train.labels
    errors = shares - F.one_hot(labels, 3)
    grads = torch.einsum("bc,bd->bcd", errors, inputs).flatten(1)
    curvatures = [
        torch.kron(torch.diag(p) - p[:, None] * p, x[:, None] * x)
        for p, x in zip(shares, inputs, strict=True)
    ]
    hessian = torch.stack(curvatures).mean(0)
    solution = torch.linalg.solve(hessian + 0.1 * torch.eye(len(hessian)), grads[[1, 4]].T)
    expected = (grads @ solution).T / 8
    torch.testing.assert_close(effects.double(), expected.detach(), rtol=1e-3, atol=1e-6)


def test_stages_are_selected_in_the_order_in_which_they_run():
    model = make_image_model("convnext")
    assert find_stages(model) == ("convnext.encoder.stages.0", "convnext.encoder.stages.1")
    last = ImageObjective(model, "last:1").space.names
    assert all(name.startswith(("convnext.encoder.stages.1", "convnext.layernorm", "classifier"))
               for name in last)  # fmt: skip
    assert {"convnext.layernorm.weight", "classifier.bias"} < {*last}
    assert ImageObjective(model, ["stages.0"]).num_frozen_layers == 1  # the embedding


def test_stages_that_are_numbered_parts_are_found():
    """The stages of a ResNet of timm are no list; the parts of a shortcut are fewer."""
    block, model = nn.Module(), nn.Module()
    block.conv = nn.Conv2d(4, 4, 3)
    block.downsample = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(1, 1))
    model.conv1, model.layer1 = nn.Conv2d(3, 4, 1), nn.Sequential(block)
    model.layer2 = nn.Conv2d(4, 8, 3)
    assert find_stages(model) == ("layer1", "layer2")


@pytest.mark.parametrize("attributed", ["last:3", "first", "last:0"])
def test_an_unknown_selection_is_refused(attributed):
    with pytest.raises(InputError, match="last:K"):
        ImageObjective(make_image_model("resnet"), attributed)


def test_outputs_that_depend_on_other_images_are_refused():
    model = make_image_model("resnet")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = module.running_var = None  # statistics of the batch
            module.track_running_stats = False
    with pytest.raises(InputError, match="do not depend on the other"):
        ImageObjective(model, "head")


def test_images_of_other_sizes_and_damaged_files_name_their_row():
    examples, files = make_examples(), make_files(6)
    files[2] = make_files(1, side=8)[0]
    examples.images = files
    with pytest.raises(InputError, match=r"row 3.*\[3, 8, 8\]"):
        examples.take(torch.tensor([0, 2]))
    files[4] = files[4][:50]
    with pytest.raises(InputError, match=r"row 5.*damaged"):
        examples.take(torch.tensor([4]))
