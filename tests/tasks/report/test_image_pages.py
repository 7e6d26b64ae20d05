"""Pages of image studies: thumbnails, nearly equal images, and the search with an image encoder."""

import base64
import io
import re
import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fastif import InputError
from storage import Store
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.detection_plan import read_detection_plan, warn_encoder
from tasks.mislabels.forecast import forecast_mislabels
from tasks.mislabels.image_features import EMBEDDED
from tasks.report.build import ReportRequest, build_report
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.report.thumbnails import SIDE, Thumbnails
from tasks.study.study import load_study
from tests.fastif.models.image_cases import encode_png
from tests.tasks.digits import TRAIN, write_image_study
from tests.tiny import run_directly

ADDRESS = re.compile(r'src="data:image/(png|jpeg);base64,([^"]+)"')


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Study with the encoder named, so that the search has one, and a near duplicate."""
    path = write_image_study(tmp_path_factory.mktemp("digits"), more="[mislabels]\nbudget = 5")
    first = sorted((path.parent / "train" / "0").glob("*.png"))[2]
    pixels = np.asarray(Image.open(first)).astype(np.int16)
    spot = pixels.clip(0, 250)
    spot[0, 0] += 3
    Image.fromarray(spot.astype(np.uint8)).save(path.parent / "train" / "0" / "900.png")
    return path


@pytest.fixture(scope="module")
def run(study):
    store, run = run_directly(study)
    detect_mislabels.fn(str(study))
    return store, run


def read_thumbnails(html: str) -> list[np.ndarray]:
    files = [base64.b64decode(content) for _, content in ADDRESS.findall(html)]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files]


def test_the_page_of_a_run_shows_its_images(study, run):
    store, name = run
    html = render_page(build_page(read_run_data(store, name, study)))
    shown = {image.tobytes() for image in read_thumbnails(html)}
    files = [np.asarray(Image.open(file)) for file in study.parent.rglob("*.png")]
    assert shown <= {file.tobytes() for file in files}
    assert len(shown) > 10
    assert "img-src data:" in html
    for words in ("tf-idf", "letter or digit", "maximum length", "single word"):
        assert words not in html, "said of texts only"
    assert "by the first two principal components" in html
    assert "the pixels of their images" in html
    assert 'data-name="image"' in html
    assert 'data-name="text"' not in html
    assert 'src="http' not in html


def test_the_search_embeds_images_once(study, run):
    store, _ = run
    plan = read_detection_plan(study)
    (kind,) = store.list_artifact_kinds(EMBEDDED)
    assert plan.encoder.artifact_kind == kind  # type: ignore[misc]
    stored = pl.concat([pl.read_parquet(folder / "rows.parquet")
                        for folder in store.find_artifacts(kind).values()])  # fmt: skip
    assert len(stored) == TRAIN + 1
    assert forecast_mislabels(plan) is None
    assert "own model" in warn_encoder(load_study(study))


def test_nearly_equal_images_are_found(study, run):
    store, name = run
    page = build_page(read_run_data(store, name, study))
    assert page.duplicates.near >= 2
    near = [{row["id"] for row in group} for group in page.duplicates.groups]
    assert any("0/900.png" in group for group in near)


def test_images_that_changed_since_the_run_are_not_shown(study, run, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(study.parent, copied)
    file = next((copied / "queries").rglob("*.png"))
    file.write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    store = Store.open(copied / "store", "digits")
    with pytest.raises(InputError, match="Restore the images"):
        read_run_data(store, run[1], copied / "study.toml")


@pytest.mark.long
def test_the_page_of_labels_alone_shows_images_found_by_pixels(study, tmp_path):
    shutil.copytree(study.parent / "train", tmp_path / "train")
    (tmp_path / "labels.toml").write_text(
        'name = "labels"\nlabels = ["0", "1", "7"]\n[train]\ntable = "train"\nimage = "image"\n'
        'label = "label"\nid = "path"\n[store]\npath = "store"\n'
    )
    detect_mislabels.fn(str(tmp_path / "labels.toml"))
    report = build_report.fn(ReportRequest(str(tmp_path / "labels.toml")))
    with open(report.path, encoding="utf-8") as file:
        html = file.read()
    assert len(read_thumbnails(html)) > 5
    assert "near duplicates" in html


def test_an_encoder_without_processor_is_refused(study, tmp_path):
    shutil.copytree(study.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("store"))
    copied = tmp_path / "copy" / "study.toml"
    (tmp_path / "copy" / "bare").mkdir()
    text = copied.read_text().replace("budget = 5", 'budget = 5\nencoder = "bare"')
    copied.write_text(text)
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        read_detection_plan(copied)


def test_thumbnails_are_small_and_plain():
    rng = np.random.default_rng(0)
    large = encode_png(rng.integers(0, 256, (900, 300, 3), dtype=np.uint8))

    class Images(list):
        pass

    thumbnails = Thumbnails([Images([large, b"broken"])], {"a": (0, 0), "b": (0, 1)})  # type: ignore[misc]
    kind, content = ADDRESS.findall(f'src="{thumbnails.make("a")}"')[0]
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (kind, max(image.size)) == ("jpeg", SIDE)
    assert len(content) < 12_000
    assert thumbnails.make("b") == thumbnails.make("c") == ""
