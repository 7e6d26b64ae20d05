"""Digests of training rows as a model reads them, to recognise a table that has changed."""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import UInt8
from torch import Tensor

from fastif.data.examples import FORWARD_BATCH_SIZE, Examples, all_ids
from fastif.errors import InputError
from fastif.models.prefix_cache import PrefixCache

DIGEST_BYTES = 16
MASK, TOKENS, TARGETS = "attention_mask", "input_ids", "labels"
MAX_SHOWN = 5


def digest_rows(batch: Mapping[str, Tensor]) -> UInt8[Tensor, "b 16"]:
    """Return a digest of each example of a batch, which does not depend on its batch mates.

    Of a text it holds the tokens that are not padding, and the target; of other examples, all
    inputs and the target.

    Args:
        batch: Batch as the model reads it, with the targets under "labels".

    Examples:
        >>> padded = {"input_ids": torch.tensor([[5, 6, 0]]), "labels": torch.tensor([1])}
        >>> padded["attention_mask"] = torch.tensor([[1, 1, 0]])
        >>> alone = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([1])}
        >>> torch.equal(digest_rows(padded), digest_rows(alone))
        True
    """
    columns = {name: tensor.detach().cpu() for name, tensor in batch.items()}
    targets = columns[TARGETS]
    if TOKENS not in columns:
        inputs = [columns[name] for name in sorted(columns) if name != TARGETS]
        rows = [
            b"".join(_read_bytes(tensor[row]) for tensor in inputs) for row in range(len(targets))
        ]
    else:
        tokens = columns[TOKENS].long()
        mask = columns.get(MASK, torch.ones_like(tokens)).bool()
        rows = [_read_bytes(line[keep]) for line, keep in zip(tokens, mask, strict=True)]
    digests = [
        hashlib.blake2b(row + _read_bytes(target), digest_size=DIGEST_BYTES).digest()
        for row, target in zip(rows, targets, strict=True)
    ]
    return torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(-1, DIGEST_BYTES)


def compute_row_digests(examples: Examples) -> UInt8[Tensor, "n 16"]:
    """Return the digest of each training row, in order.

    Args:
        examples: Training rows; those of a `PrefixCache` are read without hidden states.
    """
    rows = examples.examples if isinstance(examples, PrefixCache) else examples
    chunks = all_ids(rows).split(FORWARD_BATCH_SIZE)
    return torch.cat([digest_rows(rows.take(ids)) for ids in chunks])


def check_row_digests(
    recorded: UInt8[Tensor, "n 16"], present: UInt8[Tensor, "m 16"], where: str
) -> None:
    """Refuse training rows that are not those of the record, in its order.

    Raises:
        InputError: With the positions of the first rows that differ.
    """
    remedy = (
        "Use the rows of the training in its order, with its tokenizer, maximum length and order "
        "of labels; or record the training again."
    )
    if len(recorded) != len(present):
        got = f"{len(present)}"
        raise InputError(where, f"the {len(recorded)} training rows of the record", got, remedy)
    changed = (recorded != present.cpu()).any(1).nonzero().flatten().tolist()
    if changed:
        shown = ", ".join(map(str, changed[:MAX_SHOWN]))
        more = ", ..." if len(changed) > MAX_SHOWN else ""
        got = f"{len(changed)} rows with other tokens or labels, at positions {shown}{more}"
        raise InputError(where, "the training rows of the record", got, remedy)


def _read_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a row's values: whole numbers in 64 bits, others in double precision."""
    kind = torch.float64 if tensor.is_floating_point() else torch.int64
    return tensor.to(kind).contiguous().numpy().tobytes()
