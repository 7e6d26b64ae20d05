"""Tagged sentences of a file, with their scheme checked and their tags repaired."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastif.errors import InputError
from fastif.tokens import Scheme, Span, decode_spans, detect_scheme, repair_tags
from tasks.data.tagged_sentence import TaggedSentence, raise_problems
from tasks.study.errors import Problem, StudyError, join_some

MAX_REPAIRS = 3
"""Number of repairs that a note lists."""


@dataclass(frozen=True)
class TaggedTable:
    """Tagged sentences of a file.

    Attributes:
        path: Path of the file.
        sentences: Sentences in the order of the file, with tags that follow the scheme.
        scheme: Scheme of the tags.
        notes: Sentences on what was detected, repaired or left out.
    """

    path: Path
    sentences: Sequence[TaggedSentence]
    scheme: Scheme
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def spans(self) -> list[list[Span]]:
        """Spans of each sentence."""
        return [decode_spans(sentence.tags, self.scheme) for sentence in self.sentences]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Types of the spans, sorted."""
        return tuple(sorted({span.kind for spans in self.spans for span in spans}))

    def find_sentence(self, sentence_id: str) -> int | None:
        """Return the position of the sentence with an id; None if there is none."""
        places = {sentence.id: place for place, sentence in enumerate(self.sentences)}
        return places.get(sentence_id)


def make_tagged_table(
    path: Path, sentences: Sequence[TaggedSentence], scheme: Scheme | None, notes: Iterable[str]
) -> TaggedTable:
    """Check and repair the tags of sentences, in their scheme.

    Args:
        path: Path of the file.
        sentences: Sentences with a tag for each word.
        scheme: Scheme of the tags; detected if None.
        notes: Sentences on what was detected in the file.

    Raises:
        StudyError: There is no sentence, ids repeat, or tags are not those of one scheme.
    """
    if not sentences:
        problem = Problem("file", "1 or more sentences", "none", "fill it")
        raise StudyError(path, [problem])
    _check_ids(path, sentences)
    notes = list(notes)
    if scheme is None:
        try:
            scheme = detect_scheme(sentence.tags for sentence in sentences)
        except InputError as error:
            problem = Problem("tags", error.expected, error.got, error.remedy)
            raise StudyError(path, [problem]) from error
        notes.append(f"the tags are read as {scheme}")
    repaired, repairs, problems = [], [], []
    for sentence in sentences:
        try:
            result = repair_tags(sentence.tags, scheme)
        except InputError as error:
            problem = Problem(sentence.place, error.expected, error.got, error.remedy)
            problems.append(problem)
            continue
        repaired.append(replace(sentence, tags=result.tags))
        repairs += [f"{sentence.place}, {repair}" for repair in result.repairs]
    raise_problems(path, problems)
    if repairs:
        notes.append(
            f"{len(repairs):,} tags that break {scheme} were repaired: "
            + join_some(repairs, MAX_REPAIRS)
        )
    return TaggedTable(path, repaired, scheme, tuple(notes))


def _check_ids(path: Path, sentences: Sequence[TaggedSentence]) -> None:
    first: dict[str, TaggedSentence] = {}
    problems = []
    for sentence in sentences:
        earlier = first.setdefault(sentence.id, sentence)
        if earlier is not sentence:
            problem = Problem(
                sentence.place,
                "an id for each sentence",
                f"{sentence.id!r}, as at {earlier.place}",
                "correct the id column, or name none",
            )
            problems.append(problem)
    raise_problems(path, problems)
