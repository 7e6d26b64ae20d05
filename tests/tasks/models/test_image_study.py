"""Audit of an image classifier: folders of images by class, to the scores in the store."""

import shutil

import polars as pl
import pytest
import torch
from PIL import Image

import fastif
from fastif.data.image_examples import ImageExamples
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import load_image_classifier, load_image_processor
from tasks.data.images import MAX_SIDE, reduce_images
from tasks.data.inputs import read_inputs
from tasks.models.finetune import train_model
from tasks.models.locate import compute_model_digest
from tasks.planning.open_run import validate_run
from tasks.run.spec import plan_run
from tasks.study.errors import StudyError
from tests.tasks.digits import LABELS, QUERIES, TRAIN, write_image_study
from tests.tiny import run_directly, scores_by_id


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_image_study(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def copied(study, tmp_path):
    shutil.copytree(study.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("store"))
    return tmp_path / "copy" / "study.toml"


def read_images(folder):
    """Files in the order of their paths, and their labels, read without the study."""
    files = sorted(folder.rglob("*.png"))
    labels = torch.tensor([LABELS.index(file.parent.name) for file in files])
    return [file.relative_to(folder).as_posix() for file in files], files, labels


def test_scores_of_an_audit_are_those_of_the_library(study):
    store, run = run_directly(study)
    scores = scores_by_id(store, run)
    assert len(scores) == TRAIN * QUERIES
    folder = study.parent
    model = load_image_classifier(folder / "model")
    processor = load_image_processor(folder / "model", model)
    tables = {}
    for name in ("train", "queries"):
        ids, files, labels = read_images(folder / name)
        contents = [file.read_bytes() for file in files]
        tables[name] = ids, ImageExamples(contents, labels, processor)
    objective = ImageObjective(model, "last:1", fastif.CrossEntropy())
    train_ids, train = tables["train"]
    query_ids, queries = tables["queries"]
    operator = fastif.GaussNewton(objective, train).with_damping(0.1)
    answer = fastif.Attributor(
        objective, train, operator, fastif.Dual(), fastif.ExhaustiveSearch(), leverage="off"
    )(queries)
    effects = torch.empty(QUERIES, TRAIN).scatter_(
        1, answer.influences.ids, answer.influences.removal_effect
    )
    places = [query_ids.index(name) for name in scores["query_id"]]
    columns = [train_ids.index(name) for name in scores["train_id"]]
    expected = effects[places, columns]
    given = torch.tensor(scores["removal_effect"].to_list())
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-6)
    queries_frame = store.scan("queries", run).collect()
    assert (queries_frame["label"] == queries_frame["prediction"]).mean() > 0.8  # type: ignore[misc]


def test_a_damaged_image_is_refused_before_the_model_is_loaded(copied):
    first = sorted((copied.parent / "train").rglob("*.png"))[4]
    first.write_bytes(first.read_bytes()[:70])
    with pytest.raises(StudyError, match="row 5: a damaged image"):
        plan_run(copied)


def test_an_image_that_changes_during_a_run_is_refused(copied):
    inputs = read_inputs(copied)
    file = sorted((copied.parent / "train").rglob("*.png"))[2]
    other = sorted((copied.parent / "train").rglob("*.png"))[3]
    file.write_bytes(other.read_bytes())
    images = inputs.train.measurements.encoded  # type: ignore[misc]
    assert images[3] == other.read_bytes()  # type: ignore[misc]
    with pytest.raises(StudyError, match="row 3"):
        images[2]  # type: ignore[misc]
    file.unlink()
    with pytest.raises(StudyError, match="no file any more"):
        images[2]  # type: ignore[misc]


def test_the_processor_is_part_of_the_model(copied):
    folder = copied.parent / "model"
    before = compute_model_digest(folder)
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace("0.5", "0.4"))
    assert compute_model_digest(folder) != before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('path = "model"', 'path = "model"\nmax_length = 8', "no such key"),
        ('[store]', '[run]\nbatch_tokens = 8\n[store]', "batch_size"),
        ('[store]', '[mislabels]\nfolds = 2\n[store]', "both need texts"),
    ],
)  # fmt: skip
def test_keys_of_texts_are_refused(copied, old, new, words):
    copied.write_text(copied.read_text().replace(old, new))
    with pytest.raises(StudyError, match=words):
        plan_run(copied)


def test_bare_pixels_cannot_be_read_by_a_model(copied):
    rows = [[0] * 64] * 6
    frame = pl.DataFrame({"image": rows, "label": ["0", "1", "7"] * 2, "path": list("abcdef")})
    frame.write_parquet(copied.parent / "t.parquet")
    text = copied.read_text().replace('table = "train"', 'table = "t.parquet"')
    copied.write_text(text.replace('table = "queries"', 'table = "t.parquet"'))
    with pytest.raises(fastif.InputError, match="encoded images"):
        validate_run(plan_run(copied))


def test_the_head_alone_is_attributed_by_name(copied):
    copied.write_text(copied.read_text().replace("last:1", "head"))
    context = validate_run(plan_run(copied))
    assert context.objective.space.names == ("classifier.weight", "classifier.bias")


def test_a_model_is_trained_on_images_from_a_base(copied):
    text = copied.read_text().replace('path = "model"', 'path = "trained"')
    text += '[training]\nbase = "model"\ntrainable = "head"\nepochs = 20\nlearning_rate = 0.05\n'
    copied.write_text(text)
    result = train_model.fn(str(copied))
    assert result.accuracy > 0.9
    trained = copied.parent / "trained"
    before, after = (load_image_classifier(folder, LABELS).state_dict()
                     for folder in (copied.parent / "model", trained))  # fmt: skip
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert (trained / "preprocessor_config.json").is_file()
    assert train_model.fn(str(copied)).skipped
    context = validate_run(plan_run(copied))
    losses = context.objective.losses(
        context.objective.params, context.train_examples.take(torch.arange(TRAIN))
    )
    assert float(losses.mean()) == pytest.approx(result.loss, rel=1e-3)


def test_queries_of_another_size_are_read_by_the_model(copied):
    for file in (copied.parent / "queries").rglob("*.png"):
        Image.open(file).resize((16, 16), Image.Resampling.NEAREST).save(file)
    context = validate_run(plan_run(copied))
    batch = context.query_examples.take(torch.arange(2))
    assert batch["pixel_values"].shape == (2, 3, 8, 8)
    both = context.plan.inputs.train, context.plan.inputs.queries
    sizes = [reduce_images(table.measurements.encoded).shape for table in both]  # type: ignore[misc]
    assert sizes == [(TRAIN, 3 * MAX_SIDE**2), (QUERIES, 3 * MAX_SIDE**2)]
