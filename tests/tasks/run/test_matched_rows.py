"""Rows of an incremental run are matched with those of its parent run."""

import torch

from tasks.run.reuse import _match_rows


def test_equal_rows_are_matched_by_multiplicity_in_order():
    actual = _match_rows([b"a", b"b", b"a"], [b"a", b"c", b"a", b"a", b"b"])
    assert torch.equal(actual, torch.tensor([0, -1, 2, -1, 1]))
