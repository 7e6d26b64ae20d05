"""Data sets of the library `datasets` are read as tables are, and need no network."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from tasks.study.sections import TableSource
from tests.tasks.data.table_files import ROWS, read, refusal, save_table, single_problem


@pytest.fixture(scope="module")
def dataset_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "genre": datasets.Value("string"),
        }
    )
    rows = datasets.Dataset.from_dict(ROWS | {"label": [1, 0, 0, 1]}, features=features)
    rows.save_to_disk(str(folder / "one"))
    both = {"train": rows, "test": rows.select([2, 0])}
    datasets.DatasetDict(both).save_to_disk(str(folder / "both"))
    unlabelled = datasets.Dataset.from_dict(ROWS | {"label": [1, -1, 0, 1]}, features=features)
    unlabelled.save_to_disk(str(folder / "unlabelled"))
    return folder


def dataset(name: str, **keys) -> TableSource:
    return TableSource(dataset=name, text="text", label="label", id="id", groups=["genre"], **keys)


def test_dataset_labels_go_by_their_names(dataset_folders, tmp_path):
    table = read(dataset("one"), dataset_folders)
    assert table.labels == [1, 0, 0, 1]
    assert read(dataset("one"), dataset_folders, ["pos", "neg"]).labels == [0, 1, 1, 0]
    source = save_table(tmp_path, "csv", ROWS).model_copy(update={"groups": ("genre",)})
    assert table.digest == read(source, tmp_path).digest


def test_dataset_splits(dataset_folders):
    assert read(dataset("both", split="test"), dataset_folders).ids == ["007", "a"]
    for keys, got in (({}, "nothing"), ({"split": "tets"}, '"tets"')):
        problem = single_problem(refusal(dataset("both", **keys), dataset_folders))
        assert (problem.where, problem.expected) == ("[train] split", "one of train, test")
        assert problem.got == got
    assert 'did you mean "test"?' in problem.remedy


def test_dataset_without_some_labels(dataset_folders):
    assert single_problem(refusal(dataset("unlabelled"), dataset_folders)).got == "null in row 2"


def test_dataset_by_a_folder_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "files").mkdir()
    save_table(tmp_path / "files", "jsonl", ROWS, "train")
    table = read(dataset("files"), tmp_path)
    assert (table.ids, table.labels) == (ROWS["id"], [1, 0, 0, 1])


def test_dataset_with_no_network(tmp_path):
    """In its own process: the library reads the offline switch when it is imported."""
    code = (
        "from pathlib import Path\n"
        "from tasks.study.sections import TableSource\n"
        "from tasks.study.errors import StudyError\n"
        "from tasks.data.dataset import read_table\n"
        "source = TableSource(dataset='hub:owner/name', text='text', label='label')\n"
        "try:\n"
        "    read_table(source, ['a', 'b'], Path('.'), 'train')\n"
        "except StudyError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).parents[3]
    switches = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | switches, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for part in ("owner/name", "[train] dataset", "that can be loaded", "network", "save_to_disk"):
        assert part in done.stdout


def test_without_the_datasets_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    problem = single_problem(refusal(dataset("owner/name"), tmp_path))
    assert "not installed" in problem.got
    assert "pip install" in problem.remedy
