"""Scanner of CoNLL files: a row a sentence, with lists of words and tags."""

import polars as pl

from tasks.data.conll import parse_conll
from tasks.data.file_content import FileContent
from tasks.data.file_scanners import ROW
from tasks.data.read_options import ReadOptions, Scan
from tasks.data.text_content import read_text

TOKENS, LAST, DOCUMENT = "tokens", "tags", "document"
"""Names of the columns: first and last cells of the lines, and the number of the document."""


def scan_conll(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a CoNLL file: the columns `tokens`, `tags` and `document`, and the cells between them.

    The second cells of the lines are the column "cell2", and so on.

    Raises:
        StudyError: A line has another number of cells than most, or an empty word or tag.
        ValueError: A file without sentences.
    """
    text = read_text(content, options.encoding)
    blocks, notes = parse_conll(text.data.decode(), content.path)
    if not blocks:
        raise ValueError("no line with a word and its tag")
    middle = range(1, len(blocks[0].rows[0]) - 1)
    names = {TOKENS: 0, **{f"cell{place + 1}": place for place in middle}, LAST: -1}
    lists = pl.List(pl.String)
    columns = [
        pl.Series(name, [[row[place] for row in block.rows] for block in blocks], dtype=lists)
        for name, place in names.items()
    ]
    documents = pl.Series(DOCUMENT, [block.document for block in blocks], dtype=pl.String)
    rows = pl.DataFrame([*columns, documents]).lazy().with_row_index(ROW, 1)
    return Scan(rows, text.detected, (*text.notes, *notes))
