"""Command of boosted trees: `fastif trees`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import out, print_line, report_errors
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.trees.tree_effects import TreeEffects

app = typer.Typer()


@app.command()
@takes_study
def trees(
    study: Path = DEFAULT_STUDY,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="File of the trees; that of the study by default."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="leaf-influence, leaf-refit (exact, slower), boostin or kernel."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="New .parquet file of the effects.")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="New .parquet file of the training rows, one value a row."),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Rows kept at each end of a query.")] = 20,
    shown: Annotated[int, typer.Option("-k", min=0, help="Number of queries to show.")] = 10,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate, if the file lacks it.")
    ] = None,
    l2: Annotated[float | None, typer.Option(help="L2 penalty, if the file lacks it.")] = None,
    l1: Annotated[float | None, typer.Option(help="L1 penalty, if the file lacks it.")] = None,
    subsample: Annotated[
        float | None, typer.Option(help="Share of rows of each tree, if the file lacks it.")
    ] = None,
) -> None:
    """Effects of training rows on the predictions of boosted trees.

    The study has features and one class or number a row; with --model its section [model] is not
    needed. The model is a file of its library: LightGBM save_model("model.txt"), XGBoost
    save_model("model.json") or .ubj, CatBoost save_model("model.json", format="json", pool=pool).
    Nothing pickled is read. Of a study with trees in [model], fastif audit stores all of this.

    --out writes the effects of each query, --rows the mean effect of each training row, and for
    classes its KNN-Shapley value with neighbours that share leaves.

    Leaf values are repeated from the training rows first, and the command stops if they do not come
    out as in the file.
    """
    with report_errors():
        from fastif.trees.trace_training import FitSettings
        from tasks.terminal.trees import render_tree_effects
        from tasks.trees.tree_effects import check_new_file, compute_tree_effects

        for path in (to, rows):
            if path is not None:
                check_new_file(path)
        settings = FitSettings(learning_rate, l2, l1, subsample)
        effects = compute_tree_effects(study, model, method, settings, keep, rows is not None)
        out.print(render_tree_effects(effects, shown))
        _write(effects, to, rows)


def _write(effects: "TreeEffects", to: Path | None, rows: Path | None) -> None:
    from tasks.trees.tree_effects import write_frame

    if to is not None:
        write_frame(effects.effects, to)
        print_line(f"Effects written: {len(effects.effects):,}, to {to}.")
    if rows is not None and effects.rows is not None:
        write_frame(effects.rows, rows)
        print_line(f"Rows written: {len(effects.rows):,}, to {rows}.")
