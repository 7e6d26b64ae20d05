"""Sentences of a table with their tags in any scheme."""

from collections.abc import Sequence

from fastif.errors import InputError
from fastif.tokens import Scheme, encode_spans
from tasks.tokens.tagged_table import TaggedTable


def encode_table(
    table: TaggedTable, scheme: Scheme | None
) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Return words and tags of each sentence, in the scheme of the table if none is given.

    Raises:
        InputError: The scheme cannot encode the spans of a sentence, which is named.
    """
    rows = []
    for sentence, spans in zip(table.sentences, table.spans, strict=True):
        try:
            tags = encode_spans(spans, len(sentence.words), scheme or table.scheme)
        except InputError as error:
            where = f"{table.path}, {sentence.place}"
            raise InputError(where, error.expected, error.got, error.remedy) from error
        rows.append((sentence.words, tags))
    return rows
