"""Data sets that are no single file: refused with a line of Python that makes one."""

import shlex
import subprocess
import sys

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fastif import InputError
from tasks.onboarding.arguments import read_arguments


@pytest.mark.long
@pytest.mark.parametrize("form", ["saved", "splits", "parquet", "jsonl", "tsv", "shell"])
def test_the_remedy_makes_one_table_of_a_folder(rows, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my räws"
    words = [str(folder)]
    if form in ("saved", "splits"):
        datasets = pytest.importorskip("datasets")
        saved = datasets.Dataset.from_polars(rows)
        saved = datasets.DatasetDict(test=saved.take(9), train=saved) if form == "splits" else saved
        saved.save_to_disk(str(folder))
    else:
        folder.mkdir()
        writers = {"jsonl": ("write_ndjson", {}), "tsv": ("write_csv", {"separator": "\t"})}
        writer, keys = writers.get(form, ("write_parquet", {}))
        suffix = "parquet" if form == "shell" else form
        for part in range(3):
            path = folder / f"part-{part:05}.{suffix}"
            getattr(rows[80 * part : 80 * part + 80], writer)(path, **keys)
            words += [str(path)] if form == "shell" else []
        words = words[1:] or words
    with pytest.raises(InputError) as caught:
        read_arguments(words)
    command = str(caught.value).partition("Save it as one file: ")[2]
    python, option, code = shlex.split(command)
    assert (python, option) == ("python", "-c")
    subprocess.run([sys.executable, "-c", code.removesuffix(".")], check=True, cwd=tmp_path)
    assert_frame_equal(pl.read_parquet(tmp_path / "train.parquet"), rows)


def test_a_data_set_of_the_hub_is_no_table(classifier, rows, tmp_path):
    for word in ("owner/name", "hub:owner/name"):
        with pytest.raises(InputError, match=r"load_dataset\('owner/name', split='train'\)"):
            read_arguments([str(classifier), word])
    with pytest.raises(InputError, match="write hub:owner/name"):
        read_arguments(["owner/name", str(tmp_path)])
