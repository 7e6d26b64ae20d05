"""Fingerprints, records and shards."""

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import record

from storage import RunRecord, compute_fingerprint, plan_shards
from storage.run_record import sha256_file

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.dictionaries(st.text(), JSON, max_size=4)


@given(PARTS)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(parts):
    turned = dict(reversed(parts.items()))
    assert compute_fingerprint(parts) == compute_fingerprint(turned)
    assert len(compute_fingerprint(parts)) == 64


@given(PARTS, PARTS)
def test_different_parts_have_different_fingerprints(parts, other_parts):
    same = json.dumps(parts, sort_keys=True) == json.dumps(other_parts, sort_keys=True)
    assert (compute_fingerprint(parts) == compute_fingerprint(other_parts)) == same


def test_a_fingerprint_is_the_sha256_of_canonical_json():
    assert (
        compute_fingerprint({"b": [1, 2], "a": None})
        == hashlib.sha256(b'{"a":null,"b":[1,2]}').hexdigest()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_have_no_fingerprint(value):
    with pytest.raises(ValueError, match="JSON"):
        compute_fingerprint({"damping": value})


@given(PARTS)
def test_a_record_round_trips_through_json(parts):
    made = RunRecord("a", "nli", compute_fingerprint(parts), "2026-01-02", parts, 10, 20, 4)
    assert RunRecord.from_json(made.to_json()) == made


def test_a_record_resumed_with_tuples_is_the_same_run():
    written = RunRecord.from_json(record(groups=("a", "b")).to_json())
    assert written.find_differences(record(groups=("a", "b"))) == []


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


@given(st.integers(0, 300), st.integers(1, 70))
def test_shards_cover_every_query_once(count, size):
    shards = plan_shards(count, size)
    assert [query for s in shards for query in range(s.start, s.stop)] == list(range(count))
    assert [s.index for s in shards] == list(range(len(shards)))
    assert all(len(s) == size for s in shards[:-1])
    assert all(0 < len(s) <= size for s in shards)


@pytest.mark.parametrize(("count", "size"), [(-1, 4), (4, 0)])
def test_invalid_counts_and_sizes_are_refused(count, size):
    with pytest.raises(ValueError, match="plan_shards needs"):
        plan_shards(count, size)
