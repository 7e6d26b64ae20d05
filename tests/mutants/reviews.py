"""Mutants of review files: labels, flags, row matching, and exports of Label Studio."""

from tests.mutants.mutant import Mutant

_TICKS = (
    "tests/flows/mislabels/test_review_files.py"
    "::test_label_studio_preselects_probable_suggestions_but_none_in_a_sample"
)

REVIEWS = (
    Mutant(
        "only true is a set flag",
        "tasks/mislabels/label_words.py",
        "    if plain in YES:\n",
        '    if plain == "true":\n',
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "an ambiguous label is the first match",
        "tasks/mislabels/label_words.py",
        "return matches[0] if len(matches) == 1 else None",
        "return matches[0]",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "the value for no label may be a label",
        "tasks/mislabels/label_words.py",
        "    while normalize_word(word) in folded:\n",
        "    while False:\n",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "a row number is an id",
        "tasks/mislabels/row_index.py",
        "        if not self.has_ids:\n",
        "        if False:\n",
        ("tests/tasks/mislabels/test_annotations.py",),
    ),
    Mutant(
        "an edited row keeps its annotation",
        "tasks/mislabels/row_index.py",
        "if digest not in self.by_digest:",
        "if digest not in self.by_digest and self._find_by_id(record) is None:",
        ("tests/tasks/mislabels/test_annotations.py",),
    ),
    Mutant(
        "skipped tasks are annotations",
        "tasks/mislabels/label_studio.py",
        '            if not (annotation.get("was_cancelled") or annotation.get("skipped"))\n',
        "",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "the first of two choices counts",
        "tasks/mislabels/label_studio.py",
        "    if len(choices) != 1:\n",
        "    if not choices:\n",
        ("tests/tasks/mislabels/test_review_files.py",),
    ),
    Mutant(
        "a random sample with preselected suggestions",
        "tasks/mislabels/label_studio.py",
        '            not row["drawn"]\n            and error_probability',
        "            error_probability",
        (_TICKS,),
    ),
    Mutant(
        "an improbable suggestion is preselected",
        "tasks/mislabels/label_studio.py",
        '            not row["drawn"]\n'
        '            and error_probability * (row["confidence"] or 0.0) > 1 - error_probability\n',
        '            not row["drawn"]\n',
        (_TICKS,),
    ),
)
