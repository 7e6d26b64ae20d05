"""A sealed file with any one byte changed is refused, or has the same content."""

import pytest

from storage.sealed import DIGEST_KEY, seal, unseal

STATED = {"run": "night-1", "rows": 17, "digests": {"a": "0f", "b": "é"}, "closed": False}


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_changed_byte_is_detected(mask):
    data = seal(STATED)
    assert unseal(data) == STATED
    name = data.index(DIGEST_KEY.encode())
    refused = 0
    for place in range(len(data)):
        if name <= place < name + len(DIGEST_KEY):
            continue  # without the key it is a file of an older version
        changed = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
        try:
            actual = unseal(changed)
        except ValueError:
            refused += 1
        else:
            assert actual == STATED, changed
    assert refused > len(data) / 2


def test_a_checksum_with_a_damaged_key_is_detected():
    data = seal({"format": 3, "run": "ab" * 32})
    with pytest.raises(ValueError, match="changed"):
        unseal(data.replace(b"sha256 of the rest", b"sha257 of the rest"))
    assert unseal(b'{"run": "%s"}' % (b"ab" * 32)) == {"run": "ab" * 32}
