"""Studies whose adapter, or base, is a name of the Hugging Face hub, in its cache."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
from adapters import changed_settings
from hub_cache import HubCache
from safetensors.torch import load_file, save_file

import fastif
from fastif import InputError
from tasks.models.finetune import train_model
from tasks.models.locate import compute_model_digest, find_base_folder, find_model_folder
from tasks.onboarding.model_folder import open_model
from tasks.study.study import load_study

FIRST, SECOND, ADAPTER, LATER = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
RECIPE = {"epochs": 1, "learning_rate": 2e-2, "batch_size": 16, "lora_rank": 2}


def write(world: Path, path: str, base: str | None = None) -> Path:
    return tiny.write_study(
        world,
        model={"path": path},
        parameters={"attributed": "adapter"},
        candidates={"kind": "full"},
        training=None if base is None else {**RECIPE, "base": base},
    )


@pytest.fixture(scope="module")
def hub(made, tmp_path_factory):
    """A world whose base is a commit of the hub, on which `fastif train` tuned an adapter."""
    world = tiny.copy(made, tmp_path_factory.mktemp("hub") / "world")
    with pytest.MonkeyPatch.context() as patch:
        cache = HubCache(world.parent / "cache", patch)
        cache.store("org/base", world / "base", FIRST, "v1")
        train_model.fn(str(write(world, "adapter", "hub:org/base@v1")))
        shutil.rmtree(world / "base")
        cache.store("org/adapter", world / "adapter", ADAPTER)
        yield world, cache


def test_an_adapter_names_the_commit_of_the_base_that_it_was_trained_on(hub):
    world, cache = hub
    settings = json.loads((world / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "org/base"
    assert settings["revision"] == FIRST
    model = open_model("hub:org/adapter")
    assert model.recipe is not None
    assert model.recipe["base"] == f"hub:org/base@{FIRST}"
    study = load_study(write(world, "adapter", model.recipe["base"]))
    assert find_base_folder(study).name == FIRST
    assert find_base_folder(study).is_relative_to(cache.folder)


@pytest.mark.long
def test_a_study_of_an_adapter_on_the_hub_has_the_scores_of_its_copy(hub):
    world, _ = hub
    digests, effects = [], []
    for path in ("adapter", "hub:org/adapter", f"hub:org/adapter@{ADAPTER}"):
        study = write(world, path)
        digests.append(compute_model_digest(find_model_folder(load_study(study))))
        if path != "hub:org/adapter":
            scores = tiny.scores_by_id(*tiny.run_directly(study))
            effects.append(scores["removal_effect"].to_list())
    assert len(set(digests)) == 1
    assert effects[0] == effects[1]
    assert len(effects[0]) == tiny.TRAIN * tiny.QUERIES


def test_other_commits_of_base_and_adapter_are_other_models(hub, tmp_path):
    world, cache = hub
    snapshot = find_model_folder(load_study(write(world, "hub:org/adapter")))
    before = compute_model_digest(snapshot)
    base = find_base_folder(load_study(write(world, "adapter", f"hub:org/base@{FIRST}")))
    moved, weights = shutil.copytree(base, tmp_path / "base"), load_file(base / "model.safetensors")
    name = next(name for name in weights if name.endswith("output.dense.weight"))
    save_file(weights | {name: 2 * weights[name]}, moved / "model.safetensors", {"format": "pt"})
    cache.store("org/base", moved, SECOND)
    assert compute_model_digest(snapshot) == before, "the adapter names its commit"
    adapter = shutil.copytree(snapshot, tmp_path / "adapter")
    for revision, is_same in ((FIRST, True), (SECOND, False), (None, False)):
        with changed_settings(adapter) as settings:
            settings["revision"] = revision
        assert (compute_model_digest(adapter) == before) is is_same
    with changed_settings(adapter) as settings:
        settings |= {"revision": FIRST, "lora_alpha": 9}
    cache.store("org/adapter", adapter, LATER)
    latest = load_study(write(world, "hub:org/adapter"))
    pinned = load_study(write(world, f"hub:org/adapter@{ADAPTER}"))
    assert find_model_folder(latest).name == LATER
    assert find_model_folder(pinned).name == ADAPTER
    assert compute_model_digest(find_model_folder(latest)) != before


@pytest.mark.parametrize("path", ["hub:org/absent", "hub:org/adapter@v9", "org/adapter"])
def test_an_adapter_that_is_not_there_is_refused_by_name(hub, path):
    words = "not in the cache .*HF_HUB_OFFLINE" if path.startswith("hub:") else '"hub:org/adapter"'
    with pytest.raises(InputError, match=words):
        find_model_folder(load_study(write(hub[0], path)))


def test_a_base_of_another_vocabulary_is_refused_though_its_matrices_fit(hub, tmp_path):
    """The tokenizer of the adapter has other tokens in most places than that of its base."""
    world, _ = hub
    base = find_base_folder(load_study(write(world, "adapter", f"hub:org/base@{FIRST}")))
    adapter, other = tmp_path / "adapter", shutil.copytree(base, tmp_path / "other")
    shutil.copytree(world / "adapter", adapter)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.get)
    special = {entry["content"] for entry in tokenizer["added_tokens"]}
    ordinary = [word for word in words if word not in special]
    shifted = dict(zip(ordinary, [*ordinary[1:], ordinary[0]], strict=True))
    tokenizer["model"]["vocab"] = {shifted.get(w, w): unit for w, unit in vocabulary.items()}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with changed_settings(adapter) as settings:
        settings["base_model_name_or_path"] = str(other)
    model = fastif.load_model(adapter)
    with pytest.raises(InputError, match=r"vocabulary of its base .*in other places"):
        fastif.load_tokenizer(adapter, model)
