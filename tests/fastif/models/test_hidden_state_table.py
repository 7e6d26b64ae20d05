"""Batches gathered from a table of hidden states equal the rows that were put into it."""

import pytest
import torch
from device_reads import DeviceReads
from pretended_device import DEVICE, Elsewhere

from fastif.models import hidden_state_table
from fastif.models.hidden_state_table import HiddenStateTable

LENGTHS, WIDTH = (3, 5, 1, 4, 2, 5, 3), 2


def _rows() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, WIDTH, generator=generator) for length in LENGTHS]


def _make_mask(ids, side: str) -> torch.Tensor:
    lengths = torch.tensor(LENGTHS)[ids]
    mask = (torch.arange(int(lengths.max()) + 1) < lengths[:, None]).long()
    return mask.flip(1) if side == "left" else mask


def _pad(rows, ids, side: str) -> torch.Tensor:
    mask = _make_mask(ids, side)
    hidden = torch.zeros(*mask.shape, WIDTH)
    for place, row in enumerate(ids.tolist()):
        hidden[place, mask[place] == 1] = rows[row]
    return hidden


def _fill(side: str, device="cpu") -> HiddenStateTable:
    table, rows = HiddenStateTable(len(LENGTHS) + 1), _rows()
    for ids in (torch.tensor([1, 5]), torch.tensor([0, 6, 3]), torch.tensor([4, 2])):
        hidden = _pad(rows, ids, side) + 9.0 * (_make_mask(ids, side) == 0)[..., None]
        batch = {"attention_mask": _make_mask(ids, side), "hidden": hidden}
        table.add(ids, {name: tensor.to(device) for name, tensor in batch.items()})
    table.finish()
    return table


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("block_bytes", [1, 60, 10**6])
def test_a_gathered_batch_has_the_rows_and_zeros_at_padding(monkeypatch, side, block_bytes):
    monkeypatch.setattr(hidden_state_table, "BLOCK_BYTES", block_bytes)
    table, rows = _fill(side), _rows()
    assert table.byte_count == sum(LENGTHS) * WIDTH * 4
    assert table.contains(torch.arange(8)).tolist() == 7 * [True] + [False]
    for places in ([6, 1], [0, 1, 2, 3, 4, 5, 6], [2], [5, 5, 0]):
        ids = torch.tensor(places)
        gathered = table.gather(ids, {"attention_mask": _make_mask(ids, side)})
        assert torch.equal(gathered, _pad(rows, ids, side))
        assert all(torch.equal(table.read_row(place), rows[place]) for place in places)


def test_a_batch_is_gathered_without_a_read_by_the_host(monkeypatch):
    monkeypatch.setattr(hidden_state_table, "BLOCK_BYTES", 60)
    ids = torch.tensor([6, 1, 4])
    with Elsewhere():
        table = _fill("right", DEVICE)
        batch = {"attention_mask": _make_mask(ids, "right").to(DEVICE)}
        with DeviceReads() as counted:
            gathered = table.gather(ids, batch)
        assert counted.reads == []
        assert torch.equal(gathered.cpu(), _pad(_rows(), ids, "right"))


def test_feature_maps_of_images_are_kept_whole():
    table, maps = HiddenStateTable(4), torch.randn(4, 3, 2, 2)
    for ids in (torch.tensor([2, 0]), torch.tensor([3])):
        table.add(ids, {"hidden": maps[ids]})
    table.finish()
    ids = torch.tensor([3, 2, 0])
    assert torch.equal(table.gather(ids, {}), maps[ids])
    assert torch.equal(table.read_row(0), maps[0])
    assert not table.contains(torch.tensor([1])).any()
