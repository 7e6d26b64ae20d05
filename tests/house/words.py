"""Words that are not to come back, each with what the field says: docs/vocabulary.txt."""

import re
from pathlib import Path

from tests.house.prose import ROOT, list_texts, read_prose

VOCABULARY = ROOT / "docs" / "vocabulary.txt"
"""In the format of codespell: `word->term, term`."""
OWN = {
    Path("docs/vocabulary.txt"),
    Path("docs/reference/glossary.md"),
    Path("tests/test_house.py"),
}
"""Files that name the old words on purpose."""


def read_vocabulary(path: Path = VOCABULARY) -> dict[str, str]:
    """Terms of the field by the word or phrase that they replace."""
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("->", 1) for line in lines if line)


def find_words(paths: list[Path]) -> list[str]:
    """Each use of a word that is not to come back: place, word, what to write."""
    vocabulary = read_vocabulary()
    words = sorted(vocabulary, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w'-])({'|'.join(map(re.escape, words))})(?![\w'])", re.IGNORECASE)
    uses = []
    for path in paths:
        place = path.relative_to(ROOT)
        if place in OWN:
            continue
        for line, text in read_prose(path):
            for match in pattern.finditer(text):
                around = text[max(0, match.start() - 40) : match.end() + 40]
                word = match.group(1).lower()
                uses.append(f"{place}:{line}: {word} -> {vocabulary[word]}: ...{around}...")
    return uses


def find_all_words() -> list[str]:
    """Uses in every file of the project."""
    return find_words(list_texts())
