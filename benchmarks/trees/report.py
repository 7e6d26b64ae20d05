"""Page of the agreement of effects on boosted trees with trees trained again on halves."""

from collections.abc import Sequence

from benchmarks.page import ResultPage, bullets, describe_machine, table

NAME = "trees"
CHOSEN_ON = ("breast cancer", "diabetes", "synthetic classes")
"""Tables on which the default method was chosen; the others had no part in it."""
METHODS = ("leaf-influence", "leaf-refit", "boostin", "kernel", "gradient product")
CATBOOST = "get_object_importance"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    unseen = [s for s in result["subjects"] if s["table"] not in CHOSEN_ON]
    default, traced, product = (
        _average(unseen, name) for name in ("leaf-influence", "boostin", "gradient product")
    )
    own, other = _compare_catboost(unseen)
    compared = (
        f" CatBoost's own {CATBOOST} has {other:.2f} where leaf-influence has {own:.2f}."
        if own is not None
        else ""
    )
    return [
        ResultPage(
            NAME,
            "Boosted trees",
            "Do effects on boosted trees predict what trees trained again on halves do?",
            "On the tables on which the default was not chosen, the mean LDS of leaf-influence, "
            f"the default, is {default:.2f}; BoostIn has {traced:.2f}, the gradient product over "
            f"shared leaves {product:.2f}.{compared}",
            f"Mean LDS {default:.2f} of leaf-influence, {product:.2f} of the gradient product",
            [_make_table(result["subjects"])],
            bullets(
                f"Outcome: the loss of each query under {result['halves']} ensembles trained "
                "again, with new trees, on random halves of the rows. LDS is the Spearman "
                "correlation of summed effects with it, the mean over the queries.",
                f"The method was chosen on {', '.join(CHOSEN_ON)} with 60 other halves, and the "
                "penalty of the method kernel, 3, with 40 of these. The other "
                "tables had no part in it.",
                "Tables of scikit-learn (breast cancer, diabetes, digits, wine, Friedman 1), and "
                "two synthetic ones with an interaction, an absolute value, noise and 5 % missing "
                "values. At most 800 training rows and 60 queries.",
                "60 rounds; LightGBM with 8 leaves, XGBoost and CatBoost with depth 3 and learning "
                "rate 0.1. All other settings are the libraries' defaults; CatBoost with "
                'boosting_type="Plain" and one leaf estimation step.',
                "leaf-refit repeats the training for each row, so it is left out for more than "
                f"three classes. {CATBOOST} is CatBoost's own LeafInfluence at its default, for "
                'models of one output; with update_method="AllPoints" it has the numbers of '
                "leaf-influence. pyinfluence and tree-influence were not compared.",
                describe_machine(result),
                "`python -m benchmarks.trees`",
            ),
        )
    ]


def _get_score(subject: dict, name: str) -> dict | None:
    return next((score for score in subject["scores"] if score["name"] == name), None)


def _average(subjects: Sequence[dict], name: str) -> float:
    scores = [_get_score(subject, name) for subject in subjects]
    return sum(score["lds"] for score in scores if score) / len(subjects)


def _compare_catboost(subjects: Sequence[dict]) -> tuple[float | None, float | None]:
    """Return the mean LDS of the default and of CatBoost's importances, where there are these."""
    both = [subject for subject in subjects if _get_score(subject, CATBOOST)]
    if not both:
        return None, None
    return _average(both, "leaf-influence"), _average(both, CATBOOST)


def _make_table(subjects: Sequence[dict]) -> str:
    rows = []
    for subject in subjects:
        scores = [_get_score(subject, name) for name in (*METHODS, CATBOOST)]
        cells = ["" if score is None else _format(score) for score in scores]
        mark = " (chosen on)" if subject["table"] in CHOSEN_ON else ""
        rows.append([subject["table"] + mark, subject["library"], f"{subject['rows']}", *cells])
    return table(("table", "library", "rows", *METHODS, CATBOOST), rows)


def _format(score: dict) -> str:
    return f"{score['lds']:.2f} ({score['low']:.2f} to {score['high']:.2f})"
