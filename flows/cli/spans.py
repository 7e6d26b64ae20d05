"""Commands of tagged sentences: `fastif spans find`, `apply` and `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import out, print_line, report_errors
from flows.cli.next_step import name_new_file, print_next

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from fastif.tokens import Scheme
    from tasks.tokens.tagged_records import RecordColumns
    from tasks.tokens.tagged_table import TaggedTable

app = typer.Typer()
spans = typer.Typer(
    help="Find wrong spans of tagged sentences (entities), review them, and correct the file.",
    no_args_is_help=True,
)
app.add_typer(spans, name="spans")

TableArgument = Annotated[
    Path, typer.Argument(help="CoNLL file, JSON Lines or Parquet with lists of words and tags.")
]
WordsOption = Annotated[str, typer.Option("--words", help="Column with the list of words.")]
TagsOption = Annotated[str, typer.Option("--tags", help="Column with the list of tags.")]
IdOption = Annotated[
    str | None, typer.Option("--id", help="Column with the ids; the number by default.")
]
DocumentOption = Annotated[
    str | None, typer.Option("--document", help="Column with the document of a sentence.")
]
NamesOption = Annotated[
    str | None, typer.Option("--names", help="Tags of class numbers, in order, with commas.")
]
SchemeOption = Annotated[
    str | None,
    typer.Option("--scheme", help="IO, BIO, IOB1, BILOU or BIOES; detected by default."),
]

ReviewOption = Annotated[Path, typer.Option("--out", "-o", help="New .csv file to review.")]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        help="Text encoder that was not trained on the tags: a folder, package:NAME/FOLDER or "
        "hub:OWNER/NAME. Without one, words are known by their surface alone."
    ),
]
ProbabilitiesOption = Annotated[
    Path | None,
    typer.Option(
        help="Probabilities [words, tags] by a model that was not trained on these sentences, a "
        ".npy file; tags are O, then B and I of each type in alphabetical order."
    ),
]
PageOption = Annotated[
    Path | None, typer.Option(help="New .html page with the doubtful spans marked.")
]
StudioOption = Annotated[
    Path | None, typer.Option(help="New .json file with tasks for Label Studio.")
]
LeastOption = Annotated[
    float, typer.Option(min=0, max=1, help="Smallest probability of an error to review.")
]


@spans.command()
def find(
    table: TableArgument,
    to: ReviewOption,
    encoder: EncoderOption = None,
    probabilities: ProbabilitiesOption = None,
    page: PageOption = None,
    studio: StudioOption = None,
    least: LeastOption = 0.1,
    seed: Annotated[int, typer.Option(help="Random seed of folds and injected errors.")] = 0,
    words: WordsOption = "tokens",
    tags: TagsOption = "tags",
    id_: IdOption = None,
    document: DocumentOption = None,
    names: NamesOption = None,
    scheme: SchemeOption = None,
) -> None:
    """Find spans that are probably wrong: missed, spurious, of another type, or with other words.

    Each span has one probability that its annotation is wrong, calibrated by errors that are
    injected in the same sentences. Sentences of a document, and equal ones, are predicted by models
    that were trained on neither. Fill in the column verdict of the file: keep, accept (the
    suggestion), remove, or change with the right span in right_start, right_end and right_type.
    """
    with report_errors():
        from tasks.tokens.apply_verdicts import check_new_file
        from tasks.tokens.search_spans import find_encoder, make_tagged_words, search_spans
        from tasks.tokens.write_findings import render_counts, write_findings

        for path in filter(None, (to, page, studio)):
            check_new_file(path)  # before the work
        tagged, _ = _read(table, scheme, words, tags, id_, document, names)
        make_tagged_words(tagged)
        folder = None if encoder is None else find_encoder(encoder)
        doubts = search_spans(tagged, folder, probabilities, seed)
        shown = [doubt for doubt in doubts if doubt.probability >= least]
        config = write_findings(tagged, shown, to, page, studio)
        for line in render_counts(tagged, doubts, shown):
            print_line(line)
        if studio is not None:
            print_line(f"Label Studio labelling interface: {config}")
        target = name_new_file(f"{table.stem}-clean{table.suffix}")
        command = ("spans", "apply", "--out", target)
        print_next(*command, values=[table, to], before="fill in verdict")


@spans.command("apply")
def apply_(
    table: TableArgument,
    review: Annotated[
        Path, typer.Argument(help="Review file with verdicts, or a JSON export of Label Studio.")
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="New file of the format of the table.")],
    words: WordsOption = "tokens",
    tags: TagsOption = "tags",
    id_: IdOption = None,
    document: DocumentOption = None,
    names: NamesOption = None,
    scheme: SchemeOption = None,
) -> None:
    """Write the table with the right spans; everything else stays as it is."""
    with report_errors():
        from tasks.tokens.apply_verdicts import apply_review, write_corrected

        tagged, columns = _read(table, scheme, words, tags, id_, document, names)
        applied = apply_review(tagged, review)
        write_corrected(tagged, applied, columns, to)
        print_line(
            f"Spans changed: {applied.num_changes}, in {len(applied.changed)} sentences; "
            f"written to {to}."
        )
        print_next("spans", "find", "--out", name_new_file("spans-again.csv"), values=[to])


@spans.command()
def export(
    table: TableArgument,
    to: Annotated[Path, typer.Option("--out", "-o", help="New CoNLL file.")],
    to_scheme: Annotated[
        str | None, typer.Option("--to-scheme", help="Scheme to write; that of the table if none.")
    ] = None,
    words: WordsOption = "tokens",
    tags: TagsOption = "tags",
    id_: IdOption = None,
    document: DocumentOption = None,
    names: NamesOption = None,
    scheme: SchemeOption = None,
) -> None:
    """Write the sentences as a CoNLL file, with repaired tags, in any scheme."""
    with report_errors():
        from tasks.tokens.apply_verdicts import check_new_file
        from tasks.tokens.conll import format_conll
        from tasks.tokens.encode_table import encode_table

        check_new_file(to)
        tagged, _ = _read(table, scheme, words, tags, id_, document, names)
        to.write_text(
            format_conll(encode_table(tagged, _check_scheme(to_scheme))), "utf-8", newline="\n"
        )
        out.print(f"Sentences written: {len(tagged)}.", highlight=False)


def _read(
    table: Path,
    scheme: str | None,
    words: str,
    tags: str,
    id_: str | None,
    document: str | None,
    names: str | None,
) -> "tuple[TaggedTable, RecordColumns]":
    """Read a table and its columns, and print what was detected and repaired."""
    from tasks.tokens.read_tagged import read_tagged_table
    from tasks.tokens.tagged_records import RecordColumns

    listed = None if names is None else [name.strip() for name in names.split(",")]
    columns = RecordColumns(words, tags, id_, document, listed)
    tagged = read_tagged_table(table, columns, _check_scheme(scheme))
    for note in tagged.notes:
        print_line(f"Note: {note}.")
    return tagged, columns


def _check_scheme(name: str | None) -> "Scheme | None":
    """Return the scheme of a name in any case.

    Raises:
        InputError: There is no scheme of this name.
    """
    from fastif import InputError
    from fastif.tokens import SCHEMES, Scheme

    if name is None:
        return None
    matching: list[Scheme] = [s for s in SCHEMES if s.lower() == name.lower()]
    aliases = {"iob2": "BIO", "iobes": "BIOES", "bmewo": "BIOES"}
    if not matching:
        remedy = "Write BIO for IOB2." if name.lower() in aliases else "Correct the scheme."
        raise InputError("--scheme", ", ".join(SCHEMES), name, remedy)
    return matching[0]
