"""Matrix of label pairs against counts by hand."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks.report.label_matrix import MAX_LABELS, OTHERS, make_label_matrix

WORDS = ["a", "b", "(others)", "(no value)", "", " a", "x" * 70 + "1", "x" * 70 + "2", None]
LABELS = st.sampled_from(WORDS)


@given(st.lists(st.tuples(LABELS, LABELS)), st.data())
def test_every_pair_is_counted_once_in_a_cell_of_its_names(pairs, data):
    """Labels that differ only after many characters, or look like words of the page, too."""
    listed = data.draw(st.lists(st.sampled_from(pairs)) if pairs else st.just([]))
    matrix = make_label_matrix(pairs, listed)
    cells = {(cell.row, cell.column): cell for row in matrix.rows for cell in row}
    assert len(set(matrix.names.values())) == len(matrix.names)
    for counts, name in ((Counter(pairs), "count"), (Counter(listed), "listed")):
        expected = {(matrix.names[a], matrix.names[b]): n for (a, b), n in counts.items()}
        assert {key: getattr(c, name) for key, c in cells.items() if getattr(c, name)} == expected
    for row in matrix.rows:
        assert [cell.column for cell in row] == matrix.columns
        assert len({cell.row for cell in row}) == 1


def test_the_most_confused_labels_are_kept_and_no_pair_is_lost():
    generator = random.Random(0)
    names = [f"class {i:02d}" for i in range(30)]
    pairs = [(name, name) for name in names for _ in range(50)]
    errors = [(names[a], names[b]) for a in range(12) for b in range(12) if a != b] * 3
    few = [(generator.choice(names), names[29]) for _ in range(9)]
    matrix = make_label_matrix([*pairs, *errors, *few], errors)
    rows = [row[0].row for row in matrix.rows]
    assert len(rows) == MAX_LABELS + 1
    assert rows[-1] == OTHERS == matrix.columns[-1]
    assert set(rows[:-1]) <= set(names[:12])
    total = sum(cell.count for row in matrix.rows for cell in row)
    assert total == len(pairs) + len(errors) + len(few)
    for row in matrix.rows:
        assert not any(cell.is_filter for cell in row if OTHERS in (cell.row, cell.column))
        expected = sum(first == row[0].row for first, _ in [*pairs, *errors, *few])
        assert row[0].row == OTHERS or sum(cell.count for cell in row) == expected


def test_only_listed_pairs_filter_and_the_largest_confusion_has_the_strongest_tint():
    pairs = [("a", "a")] * 9 + [("a", "b")] * 4 + [("b", "a")] * 2
    (aa, ab), (ba, bb) = make_label_matrix(pairs, [("a", "b")]).rows
    assert [cell.is_filter for cell in (aa, ab, ba, bb)] == [False, True, False, False]
    assert [cell.tint for cell in (aa, ab, ba, bb)] == [0, 1, 0.5, 0]


def test_a_query_without_a_prediction_has_a_column_and_no_row():
    matrix = make_label_matrix([("a", None), ("a", "a")], [])
    assert matrix.columns == ["a", "(no value)"]
    assert [[cell.count for cell in row] for row in matrix.rows] == [[1, 1]]
