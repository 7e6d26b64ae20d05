"""Mutants of reviewers' files: words, rows, and the exports of Label Studio."""

from tests.mutants.mutant import Mutant

_TICKS = (
    "tests/flows/mislabels/test_review_files.py"
    "::test_tasks_of_label_studio_tick_nothing_in_a_sample_nor_against_the_likelier_label"
)

REVIEWS = (
    Mutant(
        "flags are read by one word",
        "tasks/mislabels/label_words.py",
        "    if plain in YES:\n",
        '    if plain == "true":\n',
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "a word that fits two labels is the first of them",
        "tasks/mislabels/label_words.py",
        "return matches[0] if len(matches) == 1 else None",
        "return matches[0]",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "the word for no label may be a label",
        "tasks/mislabels/label_words.py",
        "    while normalize_word(word) in folded:\n",
        "    while False:\n",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "a row number is a name",
        "tasks/mislabels/row_index.py",
        "        if not self.named:\n",
        "        if False:\n",
        ("tests/tasks/mislabels/test_annotations.py",),
    ),
    Mutant(
        "a row whose text was edited keeps its verdict",
        "tasks/mislabels/row_index.py",
        "if digest not in self.by_digest:",
        "if digest not in self.by_digest and self._find_by_id(record) is None:",
        ("tests/tasks/mislabels/test_annotations.py",),
    ),
    Mutant(
        "skipped tasks are verdicts",
        "tasks/mislabels/label_studio.py",
        '            if not (annotation.get("was_cancelled") or annotation.get("skipped"))\n',
        "",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "the first of two choices",
        "tasks/mislabels/label_studio.py",
        "    if len(choices) != 1:\n",
        "    if not choices:\n",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "a random sample with the suggestion ticked",
        "tasks/mislabels/label_studio.py",
        '            not row["drawn"]\n            and error_probability',
        "            error_probability",
        (_TICKS,),
    ),
    Mutant(
        "a tick where the given label is likelier",
        "tasks/mislabels/label_studio.py",
        '            not row["drawn"]\n'
        '            and error_probability * (row["confidence"] or 0.0) > 1 - error_probability\n',
        '            not row["drawn"]\n',
        (_TICKS,),
    ),
)
