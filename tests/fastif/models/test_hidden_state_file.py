"""Hidden states from a file equal those in memory bit for bit, and take no memory."""

import subprocess
import sys

import pytest
import torch
from cases import token_examples, transformer

from fastif import TransformerObjective, predict
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.prefix_cache import PrefixCache, plan_cache

COUNT, GROUP = 23, 4


def make_model(dtype=torch.float32, family="bert"):
    model = transformer(family, dtype)
    return TransformerObjective(model, "last:1", half=True), token_examples(COUNT)


def write_file(folder, objective, examples, groups) -> HiddenStateFile:
    HiddenStateFile.write(folder, objective, examples, groups)
    return HiddenStateFile(folder)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_memory_file_and_recomputation_agree_bit_for_bit(tmp_path, family, dtype):
    objective, examples = make_model(dtype, family)
    groups = list(examples.length_buckets(size=GROUP))
    kept = PrefixCache(objective, examples, 10**9, GROUP)
    read = PrefixCache(
        objective, examples, 0, GROUP, file=write_file(tmp_path, objective, examples, groups)
    )
    assert not read.table.byte_count
    for places in groups:
        anew = objective.compute_prefix(examples.take(places))
        real = anew["attention_mask"].bool()
        for cache in (kept, read):
            actual = cache.take(places)
            assert actual["hidden"].dtype == dtype
            assert torch.equal(actual["hidden"][real], anew["hidden"][real])
            assert not actual["hidden"][~real].any()
            assert torch.equal(
                objective.outputs(objective.params, actual),
                objective.outputs(objective.params, kept.take(places)),
            )
    mixed = torch.tensor([5, 1, 22, 5, 9])
    assert torch.equal(kept.take(mixed)["hidden"], read.take(mixed)["hidden"])


def test_the_plan_follows_the_budgets_and_covers_every_example(tmp_path):
    objective, examples = make_model()
    width = 8
    each = width * 4
    total = int(examples.lengths.sum()) * each
    tiers = plan_cache(examples, each, total // 4, total // 3, GROUP)
    memory, disk = (torch.cat(groups) for groups in (tiers.memory, tiers.disk))
    assert not torch.isin(memory, disk).any()
    bytes_on_disk = int(examples.lengths[disk].sum()) * each
    assert total // 3 - GROUP * 9 * each < bytes_on_disk <= total // 3
    assert len(memory) + len(disk) < COUNT
    file = write_file(tmp_path, objective, examples, tiers.disk)
    assert len(file) == len(disk)
    assert (tmp_path / "states.bin").stat().st_size == bytes_on_disk
    cache = PrefixCache(objective, examples, total // 4, GROUP, file=file)
    in_table = cache.table.contains(torch.arange(COUNT))
    assert torch.equal(in_table.nonzero()[:, 0], memory.sort().values)
    whole, _ = predict(objective, examples)
    for size in (1, 5, COUNT):
        logits, _ = predict(objective, cache, size)
        torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)


def test_hidden_states_on_disk_run_no_frozen_layer(tmp_path):
    objective, examples = make_model()
    tiers = plan_cache(examples, 32, 0, 10**9, GROUP)
    cache = PrefixCache(
        objective, examples, 0, GROUP, file=write_file(tmp_path, objective, examples, tiers.disk)
    )
    runs = []
    objective.full_model.bert.encoder.layer[0].register_forward_hook(lambda *_: runs.append(1))
    predict(objective, cache)
    assert not runs
    predict(objective, examples)
    assert runs


def test_an_open_file_stays_readable_after_its_removal(tmp_path):
    objective, examples = make_model()
    groups = list(examples.length_buckets(size=GROUP))
    file = write_file(tmp_path, objective, examples, groups)
    before = file.take([3, 0])
    (tmp_path / "states.bin").unlink()
    for now, then in zip(file.take([3, 0]), before, strict=True):
        assert torch.equal(now, then)


BOUNDED = """
import resource, sys
from pathlib import Path
import torch
from fastif.data.examples import Examples
from fastif.models.hidden_state_file import HiddenStateFile

class Texts(Examples):
    def __len__(self): return 1600
    @property
    def lengths(self): return torch.full((1600,), 64)
    def take(self, ids): return {"labels": ids}

class Frozen:
    def compute_prefix(self, batch):
        rows = batch["labels"][:, None, None].float()
        return {"hidden": rows.expand(-1, 64, 1024).contiguous()}

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

folder, texts = Path(sys.argv[1]), Texts()
groups = list(texts.length_buckets(size=64))
torch.ones(64, 64, 1024) + 1
before = peak()
HiddenStateFile.write(folder, Frozen(), texts, groups)
file = HiddenStateFile(folder)
for places in groups:
    rows = file.take(places.tolist())
    assert all(float(row[5, 7]) == place for row, place in zip(rows, places.tolist()))
print((peak() - before) // 1024)
"""


@pytest.mark.long
def test_peak_memory_is_that_of_a_batch_and_not_of_the_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, tmp_path], capture_output=True, text=True, check=True
    )
    size = (tmp_path / "states.bin").stat().st_size
    assert size == 1600 * 64 * 1024 * 4
    assert int(done.stdout) * 2**20 < size / 4
