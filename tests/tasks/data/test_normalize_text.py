"""Names are equal in both Unicode forms, and look-alike characters are reported."""

import pytest
from pydantic import TypeAdapter

from tasks.study.fields import Names as NamesType
from tests.tasks.data.table_files import (
    FORMATS,
    ROWS,
    make_source,
    read,
    refusal,
    save_table,
    single_problem,
)

Names = TypeAdapter(NamesType)
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("study", "file"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_names_are_the_same_in_either_unicode_form(tmp_path, suffix, study, file):
    """Names of columns, labels and groups; a text is left as it is written."""
    columns = {
        file: ["a", file],
        "label": [file, "tea"],
        "id": ["1", file],
        "g" + file: [file, "x"],
    }
    save_table(tmp_path, suffix, columns)
    source = make_source(f"rows.{suffix}", text=study, groups=["g" + study])
    labels = Names.validate_python([study, "tea"])
    table = read(source, tmp_path, labels)
    assert (table.labels, table.ids) == ([0, 1], ["1", COMPOSED])
    assert table.texts == ["a", file]
    assert table.groups == {"g" + COMPOSED: [COMPOSED, "x"]}


def test_ids_that_look_equal_are_refused(tmp_path):
    source = save_table(tmp_path, "csv", {**ROWS, "id": [COMPOSED, DECOMPOSED, "x", "y"]})
    assert single_problem(refusal(source, tmp_path)).expected == "unique ids"


@pytest.mark.parametrize(
    ("label", "expected"),
    [("n\u0435g", "U+0435 CYRILLIC SMALL LETTER IE in place of U+0065"),
     ("neg\u200b", "U+200B ZERO WIDTH SPACE in place of nothing"),
     ("neg\u00a0", "U+00A0 NO-BREAK SPACE")],
)  # fmt: skip
def test_look_alike_characters_are_reported_by_code_points(tmp_path, label, expected):
    source = save_table(tmp_path, "csv", {**ROWS, "label": ["pos", label, "neg", "pos"]})
    change = single_problem(refusal(source, tmp_path)).remedy
    assert change.startswith('did you mean "neg"? It has ')
    assert expected in change


@pytest.mark.parametrize("text", ["\u200b", "\u00a0", "\ufeff \u200d", "\t\x01"])
def test_a_text_of_invisible_characters_is_empty(tmp_path, text):
    source = save_table(tmp_path, "parquet", {**ROWS, "text": ["a", text, "b", "c"]})
    assert single_problem(refusal(source, tmp_path)).got == "an empty text in row 2"
