"""Saved records: nothing damaged, and nothing of another training or table, is read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastif import CrossEntropy, InputError, ModuleObjective, TensorExamples
from fastif.unrolled.row_digests import digest_rows
from fastif.unrolled.saved_record import open_record
from tests.fastif.unrolled.recorded_trainings import examples, open_trained, train
from tests.fastif.unrolled.small_trainings import CASES


def _spoil(folder: Path, change: str) -> None:
    state = folder / "state-000003.safetensors"
    chunk = folder / "steps-000003-000006.safetensors"
    if change == "state gone":
        state.unlink()
    elif change == "state cut":
        state.write_bytes(state.read_bytes()[:-8])
    elif change == "a bit of a state":
        content = state.read_bytes()
        state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif change == "chunk gone":
        chunk.unlink()
    elif change == "order of a batch":
        tensors = load_file(chunk)
        save_file({**tensors, "ids": tensors["ids"].flip(0)}, chunk)
    elif change == "rows":
        tensors = load_file(folder / "rows.safetensors")
        save_file({"digests": tensors["digests"] + 1}, folder / "rows.safetensors")
    else:
        path = folder / "record.json"
        manifest = json.loads(path.read_text())
        if change == "a chunk left out":
            del manifest["chunks"][1]
        elif change == "last chunk left out":
            del manifest["chunks"][-1]
        elif change == "format":
            manifest["format"] = 2
        elif change == "a key left out":
            del manifest["optimizer"]
        elif change == "file elsewhere":
            manifest["states"][1]["name"] = "../state-000003.safetensors"
        elif change == "digest":
            manifest["weights_digest"] = "0" * 64
        path.write_text(json.dumps(manifest)[: -5 if change == "json" else None])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("state gone", "the file state-000003.safetensors; got missing"),
        ("state cut", "state-000003.safetensors; got damaged or changed"),
        ("a bit of a state", "state-000003.safetensors; got damaged or changed"),
        ("chunk gone", "the file steps-000003-000006.safetensors; got missing"),
        ("order of a batch", "steps-000003-000006.safetensors; got damaged or changed"),
        ("rows", "rows.safetensors; got damaged or changed"),
        ("a chunk left out", "the batches of all 9 steps; got a gap after step 6"),
        ("last chunk left out", "the batches of all 9 steps; got a gap after step 6"),
        ("format", "format 2"),
        ("a key left out", "optimizer"),
        ("file elsewhere", "a file of another folder"),
        ("digest", "a last state with the final weights"),
        ("json", "expected a folder with record.json"),
    ],
)
def test_a_tampered_record_is_refused_by_name(tmp_path, change, expected):
    module = train(tmp_path / "record", CASES["adamw"])
    open_trained(tmp_path / "record", module)
    _spoil(tmp_path / "record", change)
    with pytest.raises(InputError) as raised:
        open_trained(tmp_path / "record", module)
    assert expected in str(raised.value)
    assert "training record" in str(raised.value)


def test_a_record_of_another_training_or_table_is_refused(tmp_path):
    module = train(tmp_path / "record", CASES["adamw"])
    other = train(tmp_path / "other", CASES["adam"])
    with pytest.raises(InputError, match="the training that ended in the model's weights"):
        open_trained(tmp_path / "record", other)
    objective, rows = ModuleObjective(module, CrossEntropy()), examples()
    changed = TensorExamples(rows.inputs.clone(), rows.labels.clone())
    changed.labels[4] = (changed.labels[4] + 1) % 3
    changed.inputs[7, 2] += 1e-9
    with pytest.raises(InputError, match="2 rows with other tokens or labels, at positions 4, 7"):
        open_record(tmp_path / "record", objective, changed)
    with pytest.raises(InputError, match="the 13 training rows of the record; got 12"):
        open_record(tmp_path / "record", objective, rows.subset(range(12)))
    part = ModuleObjective(module, CrossEntropy(), ["0.weight", "2.weight", "2.bias"])
    with pytest.raises(InputError, match=r"0\.bias trained but not attributed"):
        open_record(tmp_path / "record", part, rows)


def test_digests_of_texts_do_not_depend_on_padding():
    row = {"input_ids": [[7, 8, 9]], "attention_mask": [[1, 1, 1]], "labels": [1]}
    right = {"input_ids": [[7, 8, 9, 0]], "attention_mask": [[1, 1, 1, 0]], "labels": [1]}
    left = {"input_ids": [[0, 7, 8, 9]], "attention_mask": [[0, 1, 1, 1]], "labels": [1]}
    others = [
        {**row, "labels": [0]},
        {**row, "input_ids": [[7, 9, 8]]},
        {**row, "attention_mask": [[1, 1, 0]]},
    ]
    first, *rest = (
        digest_rows({name: torch.tensor(value) for name, value in batch.items()})
        for batch in (row, right, left, *others)
    )
    assert [torch.equal(first, digest) for digest in rest] == [True, True, False, False, False]
