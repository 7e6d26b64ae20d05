"""Page docs/results/speed.md, written from the kept result of `benchmarks.speed`."""

from statistics import median

from benchmarks import reference
from benchmarks.page import ResultPage, bullets, format_goal, join_parts, table

TILE_NOTE = (
    "Sharing the gradient of a candidate among the queries of a shard gives most of the speed-up "
    "of scoring. A shard of one query is not sped up."
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on speed against the published method."""
    full, knn = (result["lines"][f"query_{scan}"] for scan in ("full", "knn"))
    return [
        ResultPage(
            name="speed",
            title="Speed against the published method",
            question="How much faster is a query than with the published FastIF implementation?",
            answer=(
                f"A full scan takes {_amount(full['ours'], 's')} a query instead of "
                f"{_amount(full['published'], 's')}, {_times(full['ratio'])} faster; with kNN "
                f"candidates it is {_times(knn['ratio'])} faster. Peak memory is "
                f"{1 / result['lines']['peak']['ratio']:.1f} times as large."
            ),
            headline=(
                f"{_times(full['ratio'])} faster in a full scan, {_times(knn['ratio'])} with kNN"
            ),
            tables=(_table(result), _goal(result)),
            measured=join_parts(_describe_settings(result), _describe_comparison(result)),
            tried=join_parts(_answers(result), _floor(result)),
        )
    ]


def _table(result: dict) -> str:
    rows = []
    for line in result["lines"].values():
        mark = " *" if line["published_multiplied_up"] else ""
        rows.append(
            [
                line["label"],
                f"{_amount(line['published'], line['unit'])}{mark}",
                _amount(line["ours"], line["unit"]),
                _times(line["ratio"]),
                f"{_times(line['ratio_least'])} - {_times(line['ratio_most'])}",
            ]
        )
    once = ", ".join(f"{name} {_amount(s, 's')}" for name, s in result["once_a_study"].items())
    return join_parts(
        table(["", "published method", "fastif", "ratio", "minimum - maximum"], rows),
        f"\\* extrapolated from the timed s_test and candidate scores. Once a study: {once}.",
    )


def _goal(result: dict) -> str:
    lines, least = result["lines"], result["least_ratio"]
    full, near = lines["pair_full"]["ratio"], lines["pair_knn"]["ratio"]
    whole_full, whole_near = (lines[f"query_{s}_once"]["ratio"] for s in ("full", "knn"))
    distinct = median(result["distinct_candidates"])
    goals = bullets(
        f"all work counted (s_test and once-a-study work divided among the pairs), full scan: "
        f"{_times(whole_full)}, {format_goal(whole_full >= least)}",
        f"all work counted, kNN: {_times(whole_near)}, {format_goal(whole_near >= least)}",
        f"scoring alone, full scan: {_times(full)}, {format_goal(full >= least)}",
        f"scoring alone, kNN: {_times(near)}, {format_goal(near >= least)}",
    )
    return join_parts(
        f"Goal: {least} x per scored pair.",
        goals,
        f"With kNN the {result['scans']['knn']} candidates a query of a shard are "
        f"{distinct:,.0f} distinct rows, so each gradient serves fewer queries.",
    )


def _describe_settings(result: dict) -> str:
    machine, problem, floor = result["machine"], result["problem"], result["floor"]
    raw, curvature, solver = result["raw"], problem["curvature"], problem["solver"]["kind"]
    loads = [turn["load"] for side in ("published", "ours") for turn in raw[side]]
    shared = "; other programs ran meanwhile" if max(loads) > machine["cores"] + 0.5 else ""
    return bullets(
        "Command: `python -m benchmarks.speed`.",
        f"Hardware, {machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, torch {machine['versions']['torch']}, load "
        f"{min(loads):.1f} to {max(loads):.1f}{shared}.",
        f"Data and model: study `{problem['study']}`, {problem['train_rows']:,} training rows, "
        f"{problem['query_rows']} queries, {floor['pair']:,} attributed parameters "
        f"(`{problem['attributed']}`). Both sides use the same weights, examples and attributed "
        "parameters.",
        "Processes: each side in its own, with the same cores. The sides alternated, "
        f"{result['sizes']['rounds']} rounds. The table has medians, and the minimum and maximum "
        "ratio of the rounds.",
        f"fastif: one shard of {raw['ours'][0]['queries']} queries, `{solver}` with "
        f"{curvature['kind']} curvature of {curvature['rows'] or 'all'} rows, damping "
        f"{curvature['damping']}. All candidates were scored; nothing was extrapolated.",
    )


def _describe_comparison(result: dict) -> str:
    sizes, published = result["sizes"], reference.Setting()
    threads = ", ".join(str(turn["threads"]) for turn in result["raw"]["published"])
    return join_parts(
        "Published method (`benchmarks/reference.py`): LiSSA with "
        f"J = {sizes['depth']}, B = 1, T = 1, damp {published.damp:g}, "
        f"scale {published.scale:g}, double backward through the whole model, and one backward "
        "pass a candidate. "
        f"Each round timed 1 whole s_test and {sizes['scored']} random candidates "
        f"({sizes['rounds']} and {sizes['rounds'] * sizes['scored']} in all), on texts without "
        f"padding. It used one thread or all, whichever was faster ({threads} here). It ran "
        "without the second-order graph that the published code keeps for first-order gradients.",
        "Not compared: loading, tokenising, writing tables, the index search of the paper, "
        "accelerators, and several devices.",
        "The two s_tests are different quantities: another curvature (Gauss-Newton of a sample "
        "instead of Hessians of single examples) and another damping. The first line of the table "
        f"compares the work of each side for a query. {TILE_NOTE}",
    ).strip()


def _answers(result: dict) -> str:
    agreement = result["raw"]["agreement"]
    scores, published, ranks = (
        agreement["scores"], agreement["published"], agreement["rank_correlation_of_scores"]
    )  # fmt: skip
    return "**Agreement of the scores.**\n\n" + bullets(
        f"For the same s_test the scores of {scores['pairs']} pairs differ by at most "
        f"{scores['max_relative_difference']:.1g} of the score "
        f"({scores['max_difference_over_largest_score']:.1g} of the largest).",
        f"The published setting is an effective damping of {published['damping']:g}. Its s_test "
        f"has cosine {_span(published['cosine_with_gradient'], 4)} with the plain gradient and "
        f"{_span(published['cosine_with_ours'], 3)} with that of fastif at damping "
        f"{agreement['ours']['damping']:g} (fastif with the gradient: "
        f"{_span(agreement['ours']['cosine_with_gradient'], 3)}).",
        "Spearman's correlation of the published scores over the whole training set is "
        f"{_span(ranks['published_with_gradient_product'], 3)} with the plain gradient product and "
        f"{_span(ranks['published_with_ours'], 3)} with fastif.",
        _small_damping(agreement),
    )


def _small_damping(agreement: dict) -> str:
    tried = agreement["published_recursion_at_our_damping"]
    start = (
        f"The published recursion with as many steps at damping {tried['damping']:g} "
        f"(scale {tried['scale']:g})"
    )
    if not tried["finite"]:
        return f"{start} diverges."
    return (
        f"{start} has cosine {tried['cosine_with_gradient']:.3f} with the gradient and "
        f"{tried['cosine_with_ours']:.3f} with fastif, at {tried['length_over_ours']:.2f} of its "
        f"length. In the flattest directions it has converged by {tried['share_of_the_way']:.0%}."
    )


def _floor(result: dict) -> str:
    floor = result["floor"]
    times, least, taken = floor["times_the_floor"], floor["floor_seconds"], floor["seconds"]
    q, _, tile = floor["tile"]
    names = {"full": "full scan of a shard", "knn": "kNN scoring", "solve": "solve"}
    rows = [
        [name, _amount(least[key], "s"), _amount(taken[key], "s"), _times(times[key])]
        for key, name in names.items()
    ]
    return join_parts(
        "**Arithmetic lower bound.** "
        f"A pair needs one inner product of {floor['pair'] / 1e6:.2f} M multiply-adds. A gradient "
        f"needs {floor['gradient'] / 1e6:.0f} M in the linear layers above the frozen ones (mean "
        "over real texts, no padding). A large matrix product runs at "
        f"{floor['rate_square'] / 1e9:.0f} G multiply-adds a second here, one of the shape of a "
        f"tile ({q} queries x {tile} gradients) at {floor['rate_tile'] / 1e9:.0f} G. The bound "
        "uses the first rate.",
        table(["", "lower bound", "measured", "ratio"], rows),
    )


def _amount(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value:,.0f} MB"
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def _span(values: list[float], digits: int) -> str:
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"
