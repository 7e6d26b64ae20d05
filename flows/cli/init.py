"""The command `fastif init`: a study is written from a model and its tables."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flows.cli.common import err, out, print_line, report_errors
from flows.cli.init_answers import TerminalAnswers, ask_arguments
from flows.cli.next_step import print_next

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.onboarding.propose import Proposal, Request
    from tasks.onboarding.questions import Answers
    from tasks.onboarding.wishes import Wishes

DEFAULT = "study.toml"


GivenArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [TRAIN] [QUERIES]",
        help="Folder of the model (or hub:owner/name), training table, table of queries. "
        "Without MODEL: a study of wrong labels. A new .toml file or a folder instead: a "
        "template to fill in.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="New study file; study.toml by default.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the study: lower case, digits, hyphens.")
]
TextOption = Annotated[
    list[str] | None,
    typer.Option("--text", help="Text column; twice for pairs, or if the tables differ."),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", help="Label column; twice if the tables differ.")
]
IdOption = Annotated[
    list[str] | None, typer.Option("--id", help="Column of unique ids; twice if they differ.")
]
GroupsOption = Annotated[
    list[str] | None, typer.Option("--groups", help="Group column; may be repeated.")
]
OrderOption = Annotated[
    list[str] | None,
    typer.Option("--labels-order", help="Label of the next output; repeated, in their order."),
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="PACKAGE.MODULE:FUNCTION",
        help="Function of an installed package that makes a torch module of your own from a "
        "folder: fastif init FOLDER TRAIN QUERIES --factory ...",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Kind of target, if rows have not one class each: multi-label, number, ordinal or "
        "soft-label. Its columns: --label, repeated if each label has one.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Ask nothing; guesses are marked in the file.")
]
NoForecastOption = Annotated[
    bool, typer.Option("--no-forecast", help="Do not forecast the time of the audit.")
]
LabelsOption = Annotated[
    bool, typer.Option("--labels", help="Template of a labels-only study, without a model.")
]
TemplateOption = Annotated[
    bool, typer.Option("--template", help="Template with every key of a study.")
]


def init(
    given: GivenArguments = None,
    target: OutOption = None,
    name: NameOption = None,
    text: TextOption = None,
    label: LabelOption = None,
    id_column: IdOption = None,
    groups: GroupsOption = None,
    order: OrderOption = None,
    factory: FactoryOption = None,
    kind: TargetOption = None,
    yes: YesOption = False,
    no_forecast: NoForecastOption = False,
    labels: LabelsOption = False,
    template: TemplateOption = False,
) -> None:
    """Write a study file: from a model and its tables, or from a template.

    Columns, labels and their order, lengths and groups are inferred from the model and the tables,
    and checked by the model's predictions. Doubtful guesses are asked in a terminal, or marked in
    the file. Nothing is ever overwritten.
    """
    with report_errors():
        from tasks.onboarding.wishes import Wishes

        words = list(given or [])
        if template or labels or _names_template(words):
            _write_template(words, target, labels)
            return
        is_asked = sys.stdin.isatty() and sys.stdout.isatty() and not yes
        path = target or Path(DEFAULT)
        path = path / DEFAULT if path.is_dir() else path
        wishes = Wishes(text or (), label or (), id_column or (), groups)
        labels_order = tuple(order or ())
        _write_inferred(
            *(words, path, name, wishes, labels_order, factory, kind, is_asked, not no_forecast)
        )


def _names_template(words: list[str]) -> bool:
    """Whether the argument is a new .toml file, or a folder without a model and without data."""
    from tasks.onboarding.data_folders import is_data_folder
    from tasks.onboarding.model_folder import is_model_folder

    if len(words) != 1:
        return False
    path = Path(words[0])
    is_new_folder = words[0].endswith(("/", "\\")) and not path.exists()
    is_folder = path.is_dir() and not is_model_folder(path) and not is_data_folder(path)
    return path.suffix.lower() == ".toml" or is_new_folder or is_folder


def _write_template(words: list[str], target: Path | None, labels: bool) -> None:
    from tasks.study.study import init_study

    path = target or Path(words[0] if words else DEFAULT)
    if words and words[0].endswith(("/", "\\")) and not path.exists():
        path.mkdir(parents=True)
    written = init_study(path, *(["labels_template.toml"] if labels else []))
    print_line(f"Wrote {written}.")
    command = "mislabels" if labels else "doctor"
    print_next(command, study=written, before="fill in the places marked <-")


def _write_inferred(
    words: list[str],
    path: Path,
    name: str | None,
    wishes: "Wishes",
    order: tuple[str, ...],
    factory: str | None,
    kind: str | None,
    is_asked: bool,
    has_forecast: bool,
) -> None:
    """Infer the study, write it, and print what was inferred, the forecast and the next command."""
    from tasks.onboarding.arguments import read_arguments
    from tasks.study.new_study import check_new_file, write_new_file

    check_new_file(path)
    words = words or (ask_arguments() if is_asked else [])
    own = None
    if factory is not None:
        from tasks.onboarding.own_module import split_folder

        own, words = split_folder(words, factory)
    arguments = read_arguments(words)  # refused before the slow imports
    from tasks.onboarding.propose import Request
    from tasks.onboarding.questions import BestGuesses
    from tasks.onboarding.write_study import render_proposal

    request = Request(arguments.model, arguments.train, arguments.queries, wishes, order, own)
    answers = TerminalAnswers() if is_asked else BestGuesses()
    proposal = _propose(request, answers, kind)
    write_new_file(path, render_proposal(proposal, path, name))
    _check_written(path)
    if proposal.own is not None and proposal.has_audit:
        from tasks.onboarding.own_label_order import order_by_predictions

        proposal = replace(proposal, order=order_by_predictions(path, answers, bool(order)))
        path.write_text(render_proposal(proposal, path, name), "utf-8")
    _print_proposal(proposal, path, arguments.note)
    if has_forecast and (proposal.has_audit or kind is None):
        _print_forecast(proposal, path)
    _print_next(proposal, path)


def _propose(request: "Request", answers: "Answers", kind: str | None) -> "Proposal":
    """Infer the study: of one class a row, or of the kind of target that is stated."""
    if kind is None:
        from tasks.onboarding.propose import propose_study

        return propose_study(request, answers)
    from tasks.onboarding.target_proposal import propose_target_study

    return propose_target_study(request, kind)


def _check_written(path: Path) -> None:
    """Read the study and its tables as the audit will."""
    from tasks.data.inputs import read_inputs
    from tasks.study.target_kind import ALL_TARGETS

    try:
        read_inputs(path, kinds=ALL_TARGETS)
    except Exception:
        err.print(f"Wrote {path}, but its tables cannot be used yet.", markup=False)
        raise


def _print_proposal(proposal: "Proposal", path: Path, note: str) -> None:
    from tasks.onboarding.describe import count_open, describe_proposal, list_warnings

    for key, value, reason in describe_proposal(proposal):
        line = Text.assemble(
            (f"{key:<18} ", "bold"), value, (f"  {reason}" if reason else "", "dim")
        )
        out.print(line, highlight=False, soft_wrap=True)
    for warning in [*filter(None, [note]), *list_warnings(proposal)]:
        print_line(warning, style="yellow")
    count = count_open(proposal)
    state = f"{count} guesses to check, marked <- check" if count else "no key is left open"
    state = "1 guess to check, marked <- check" if count == 1 else state
    print_line(f"Wrote {path}: {state}.")


def _print_forecast(proposal: "Proposal", path: Path) -> None:
    """Print what the next command will cost, as its own --dry-run does."""
    if proposal.has_audit:
        from flows.cli.audit import print_forecast
        from tasks.run.spec import plan_run

        print_forecast(plan_run(path))
    else:
        from tasks.mislabels.detection_plan import read_detection_plan
        from tasks.mislabels.forecast import forecast_mislabels

        print_line(f"{forecast_mislabels(read_detection_plan(path))}")


def _print_next(proposal: "Proposal", path: Path) -> None:
    print_next("audit" if proposal.has_audit else "mislabels", study=path)
