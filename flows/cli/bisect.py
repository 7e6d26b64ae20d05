"""The command `fastif bisect`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import RUN_NAMES, open_study, out, print_line, report_errors
from flows.cli.completion import complete_runs
from flows.cli.next_step import print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.bisection.conclusion import Conclusion

app = typer.Typer()


class Format(StrEnum):
    """Format of the output."""

    JSON = "json"
    MARKDOWN = "md"


BeforeArgument = Annotated[
    str,
    typer.Argument(help=f"Name of the earlier run. {RUN_NAMES}", autocompletion=complete_runs),
]
AfterArgument = Annotated[
    str, typer.Argument(help="Name of the later run.", autocompletion=complete_runs)
]
SliceOption = Annotated[
    str | None,
    typer.Option("--slice", help="Value of the first group column of the queries; all by default."),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        help="Group column of the training rows, such as source or batch; the first by default."
    ),
]
ConfirmOption = Annotated[
    int,
    typer.Option(
        min=0,
        max=2,
        help="Number of suspects to confirm by retraining. There are two retrainings at most: "
        "with 1, the second measures the noise of retraining, if the store does not know it.",
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Print JSON or Markdown instead of a table.")
]


@app.command()
@takes_study
def bisect(
    before: BeforeArgument,
    after: AfterArgument,
    study: Path = DEFAULT_STUDY,
    part: SliceOption = None,
    by: ByOption = None,
    confirm: ConfirmOption = 1,
    kind: FormatOption = None,
) -> None:
    """Find which change of the training rows changed the loss of a slice between two runs.

    The changed rows are grouped by kind (added, removed, relabelled, edited) and by source; the
    stored removal effects give the contribution of each group. The first suspect is confirmed by
    retraining without its change, if the study has a section [training].
    """
    with report_errors():
        from tasks.bisection.bisect_runs import bisect_runs
        from tasks.bisection.conclusion import conclude, explain_no_retraining
        from tasks.run.run_names import resolve_run_name
        from tasks.study.study import load_study
        from tasks.study.supported_targets import check_plain_classes

        check_plain_classes(load_study(study), "`fastif bisect`")
        loaded, store = open_study(study)
        before, after = (resolve_run_name(store, name) for name in (before, after))
        bisection = bisect_runs(store, before, after, part, by)
        reason = explain_no_retraining(bisection, loaded.training is not None, confirm)
        if reason:
            conclusion = conclude(bisection, (), reason)
        else:
            from tasks.bisection.confirm import confirm_suspects

            conclusion = confirm_suspects(loaded, store, bisection, confirm)
        _print_conclusion(conclusion, kind)
        if kind is None:
            print_next("diff", values=[before, after], study=study)


def _print_conclusion(conclusion: "Conclusion", kind: Format | None) -> None:
    if kind is Format.JSON:
        from tasks.bisection.bisection_json import render_bisection_json

        print_line(render_bisection_json(conclusion))
    elif kind is Format.MARKDOWN:
        from tasks.report.bisection_markdown import render_bisection_markdown

        print_line(render_bisection_markdown(conclusion).rstrip("\n"))
    else:
        from tasks.terminal.bisection import render_bisection

        out.print(render_bisection(conclusion))
