"""Prose in the field's words: none of those that are not to come back, docstrings read alone."""

from tests.house.docstrings import find_all_faults, find_faults
from tests.house.prose import ROOT, list_texts, read_prose
from tests.house.words import find_all_words, find_words, read_vocabulary


def test_no_word_comes_back():
    assert find_all_words() == []


def test_every_public_docstring_can_be_read_alone():
    assert find_all_faults() == []


def test_every_word_has_a_term():
    assert all(read_vocabulary().values())


def test_prose_is_read_from_every_kind_of_file():
    suffixes = {path.suffix for path in list_texts()}
    assert suffixes >= {".py", ".md", ".jinja", ".toml"}
    assert ROOT / "README.md" in list_texts()


def write_module(folder, text):
    """A module in the tree, so that its place can be named."""
    path = folder / "module.py"
    path.write_text(text)
    return path


def test_a_phrase_over_two_lines_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.words.ROOT", tmp_path)
    old = " ".join(("labels", "turned"))
    path = write_module(tmp_path, f'"""Counts {old.replace(" ", chr(10))} by us."""\n')
    assert [line.split(": ")[1] for line in find_words([path])] == [f"{old} -> flipped labels"]


def test_words_in_comments_messages_and_formatted_texts_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.words.ROOT", tmp_path)
    old = "fore" + "tells"
    path = write_module(
        tmp_path, f'# It {old}.\nx = "it {old} much"\ny = f"{{x}} {old} {{x}}"\nz = "{old}"\n'
    )
    assert len(find_words([path])) == 3  # a text of one word may be a frozen name


def test_code_in_prose_is_not_prose(tmp_path):
    path = write_module(tmp_path, '"""Return `one` of ``two``."""\n')
    assert read_prose(path) == [(1, "Return ` of ` .".replace(" .", " ."))]


def test_openings_that_name_nothing_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.docstrings.ROOT", tmp_path)
    openings = ("Of the rows.", "The same again.", "What it is.", "A row that is.", "Row hashes.")
    text = "".join(f'def f{i}():\n    """{line}"""\n' for i, line in enumerate(openings))
    path = write_module(tmp_path, f'"""Module."""\n{text}def _g():\n    """Of it."""\n')
    assert [line.split(": ")[1] for line in find_faults(path)] == ["f0", "f1", "f2", "f3"]


def test_entries_that_need_their_name_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.docstrings.ROOT", tmp_path)
    entries = "        a: of the folds.\n        b: Random seed.\n        c: rows.\n"
    text = f'def f(a, b, c):\n    """Count.\n\n    Args:\n{entries}    """\n'
    assert [line.split(" entry ")[1] for line in find_faults(write_module(tmp_path, text))] == [
        "'a: of the folds.'",
        "'c: rows.'",
    ]
