"""CoNLL files as they are: columns, documents, comments, line ends, and what is refused by line."""

import pytest

from tasks.study.errors import StudyError
from tasks.tokens.conll import format_conll, rewrite_conll
from tasks.tokens.read_tagged import read_tagged_table

PLAIN = "Anna B-PER\nruns O\n\nin O\nParis B-LOC\n"


def write(folder, text, name="train.conll"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.rstrip("\n"),
        "\n\n" + PLAIN.replace("\n\n", "\n \n\t\n"),
        PLAIN.replace(" ", "\t"),
        PLAIN.replace(" ", "  "),
        PLAIN.replace("\n", " \n"),
        "-DOCSTART- O\n\n" + PLAIN,
        "# id 1 of\n" + PLAIN,
    ],
    ids=[
        "plain",
        "crlf",
        "bom",
        "no end",
        "blanks",
        "tabs",
        "spaces",
        "trailing",
        "doc",
        "comment",
    ],
)
def test_every_layout_is_read_and_written_back(tmp_path, text):
    path = write(tmp_path, text)
    table = read_tagged_table(path)
    assert [sentence.words for sentence in table.sentences] == [("Anna", "runs"), ("in", "Paris")]
    assert [sentence.tags for sentence in table.sentences] == [("B-PER", "O"), ("O", "B-LOC")]
    assert [sentence.id for sentence in table.sentences] == ["1", "2"]
    same = {sentence.position: sentence.tags for sentence in table.sentences}
    assert rewrite_conll(path, same).encode() == path.read_bytes()
    position = table.sentences[1].position
    changed = write(tmp_path, rewrite_conll(path, {position: ("B-LOC", "I-LOC")}), "new.conll")
    assert read_tagged_table(changed).sentences[1].tags == ("B-LOC", "I-LOC")
    lines = zip(path.read_bytes().split(b"\n"), changed.read_bytes().split(b"\n"), strict=True)
    assert sum(old != new for old, new in lines) == 2


def test_columns_between_word_and_tag_stay(tmp_path):
    path = write(tmp_path, "Anna NNP B-NP B-PER\nruns VBZ B-VP O\n")
    assert read_tagged_table(path).sentences[0].tags == ("B-PER", "O")
    assert rewrite_conll(path, {0: ("B-LOC", "O")}).startswith("Anna NNP B-NP B-LOC\n")


def test_documents_and_comments(tmp_path):
    text = "-DOCSTART- -X- O\n\na x B-P\n\n-DOCSTART- -X- O\n\n# a comment of words\nb x O\n# B-P\n"
    table = read_tagged_table(write(tmp_path, text.replace("# B-P", "# x B-P")))
    assert [sentence.document for sentence in table.sentences] == ["1", "2"]
    assert table.sentences[1].words == ("b", "#")  # a line with all cells is a word
    assert any("1 lines of comments" in note for note in table.notes)


def test_a_separator_of_unicode_is_part_of_a_word(tmp_path):
    path = write(tmp_path, "a\u2028b\tB-P\nc\x85d\u00a0e\tO\n")
    assert read_tagged_table(path).sentences[0].words == ("a\u2028b", "c\x85d\u00a0e")


def test_repairs_are_told(tmp_path):
    table = read_tagged_table(write(tmp_path, "a B-P\n\nb O\nc I-P\n\nd B-P\n" * 6), scheme="BIO")
    assert table.sentences[1].tags == ("O", "B-P")
    assert any("6 tags that break BIO were repaired: line 3, word 2" in n for n in table.notes)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a B-P\nb\n", "line 2"),
        ("a B-P\nb x O\nc O\n", "line 2"),
        ("a\tB-P\nb\t\n", "line 2"),
        ("a B-P\n\nb X-P\n", "X-P, B-P"),
        ("a O\n", "no tag other than O"),
        ("", "sentences"),
        ("-DOCSTART- O\n\n", "sentences"),
        (b"a B-P\n\xe9t\xe9 O\n", "line 2"),
        (b"a B-P\rb O\r", "alone"),
    ],
)
def test_broken_files_are_refused_by_line(tmp_path, text, match):
    with pytest.raises(StudyError, match=match):
        read_tagged_table(write(tmp_path, text))


def test_a_stated_scheme_is_checked_by_line(tmp_path):
    with pytest.raises(StudyError, match="line 3"):
        read_tagged_table(write(tmp_path, "a B-P\n\nb X-P\n"), scheme="BIO")


def test_files_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path / "none.conll", tmp_path):
        with pytest.raises(StudyError, match="existing file"):
            read_tagged_table(path)


def test_words_that_no_file_holds_are_refused():
    assert format_conll([(["a", "b"], ["B-P", "O"]), (["c"], ["O"])]) == "a\tB-P\nb\tO\n\nc\tO\n"
    for word in ("", "a\tb", "a\nb", " "):
        with pytest.raises(StudyError, match="JSON Lines"):
            format_conll([([word], ["O"])])
