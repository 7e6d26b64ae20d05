"""The section of docs/results.md that a measurement owns, written from its JSON."""

from statistics import median

from benchmarks import reference


def section(result: dict) -> str:
    """The section as Markdown."""
    parts = (
        _head(result),
        _table(result),
        _describe_comparison(result),
        _answers(result),
        _floor(result),
    )
    return "## Speed against the paper's way\n\n" + "\n\n".join(parts) + "\n"


def _head(result: dict) -> str:
    machine, problem, floor = result["machine"], result["problem"], result["floor"]
    study, sizes, raw = problem["study"], result["sizes"], result["raw"]
    loads = [turn["load"] for side in ("published", "ours") for turn in raw[side]]
    shared = "; other programs ran meanwhile" if max(loads) > machine["cores"] + 0.5 else ""
    return (
        f"`python -m benchmarks.speed`, {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, "
        f"torch {machine['versions']['torch']}, load {min(loads):.1f} to {max(loads):.1f}{shared}. "
        f"Study `{study}`: {problem['train_rows']:,} training rows, {problem['query_rows']} "
        f"queries, {floor['pair']:,} attributed parameters (`{problem['attributed']}`). Both "
        f"sides took turns, {sizes['rounds']} rounds; medians, and for the ratio the least and "
        "the most of the rounds."
    )


def _table(result: dict) -> str:
    rows = [
        "| | the paper's way | fastif | ratio | least - most |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for line in result["lines"].values():
        mark = " *" if line["published_multiplied_up"] else ""
        rows.append(
            f"| {line['label']} | {_amount(line['published'], line['unit'])}{mark} "
            f"| {_amount(line['ours'], line['unit'])} | {_times(line['ratio'])} "
            f"| {_times(line['ratio_least'])} - {_times(line['ratio_most'])} |"
        )
    once = ", ".join(f"{name} {_amount(s, 's')}" for name, s in result["once_a_study"].items())
    notes = f"\\* multiplied up from the timed s_test and candidate scores. Once a study: {once}."
    return "\n".join(rows) + "\n\n" + notes + " " + _goal(result)


def _goal(result: dict) -> str:
    lines, least = result["lines"], result["least_ratio"]
    full, near = lines["pair_full"]["ratio"], lines["pair_knn"]["ratio"]
    whole_full, whole_near = (lines[f"query_{s}_once"]["ratio"] for s in ("full", "knn"))

    def verdict(ratio: float) -> str:
        return "reached" if ratio >= least else "**not reached**"

    distinct = median(result["distinct_candidates"])
    return (
        f"The aim of {least} x per scored pair: with everything counted (s_test and once-a-study "
        f"work spread over the pairs) {_times(whole_full)} in a full scan ({verdict(whole_full)}) "
        f"and {_times(whole_near)} with kNN ({verdict(whole_near)}); for scoring alone "
        f"{_times(full)} in a full scan ({verdict(full)}) and {_times(near)} with kNN "
        f"({verdict(near)}), where a shard's {result['scans']['knn']} candidates a query are "
        f"{distinct:,.0f} distinct rows, so a gradient serves fewer queries."
    )


def _describe_comparison(result: dict) -> str:
    sizes, problem = result["sizes"], result["problem"]
    threads = ", ".join(str(turn["threads"]) for turn in result["raw"]["published"])
    shard, published = result["raw"]["ours"][0]["queries"], reference.Setting()
    curvature = problem["curvature"]
    return (
        "**What is compared.** The same weights, examples and attributed parameters, in processes "
        "of their own with the same cores to use. The paper's way (`benchmarks/reference.py`): "
        f"LiSSA with J = {sizes['depth']}, B = 1, T = 1, damp {published.damp:g}, "
        f"scale {published.scale:g}, double backward through the whole model, one backward a "
        "candidate. Each round timed 1 whole s_test and "
        f"{sizes['scored']} random candidates, {sizes['rounds']} and "
        f"{sizes['rounds'] * sizes['scored']} in all, on unpadded texts, "
        f"with one thread or all, whichever was faster ({threads} here), and "
        "without the second-order graph that the published code keeps for first-order gradients. "
        f"Ours: one shard of {shard} queries, `{problem['solver']['kind']}` with "
        f"{curvature['kind']} curvature from {curvature['rows'] or 'all'} rows at damping "
        f"{curvature['damping']}, all candidates really scored. **Not compared:** loading, "
        "tokenising, writing tables, the paper's index search, accelerators, and several devices. "
        "The two s_tests are not the same quantity either: another curvature (Gauss-Newton of a "
        "sample, not Hessians of single examples) and another damping, so the first line compares "
        "what each side really does for a query, not two ways to one number. Most of the advantage "
        "in scoring comes from sharing a candidate's gradient among the queries of a shard; a "
        "shard of one query has none of that."
    )


def _answers(result: dict) -> str:
    agreement = result["raw"]["agreement"]
    scores, published, ranks = (
        agreement["scores"], agreement["published"], agreement["rank_correlation_of_scores"]
    )  # fmt: skip
    return (
        f"**Answers.** For the same s_test the two sides' scores of {scores['pairs']} pairs differ "
        f"by at most {scores['max_relative_difference']:.1g} of the score "
        f"({scores['max_difference_over_largest_score']:.1g} of the largest). The published "
        f"setting is an effective damping of {published['damping']:g}: its s_test has cosine "
        f"{_span(published['cosine_with_gradient'], 4)} with the plain gradient and "
        f"{_span(published['cosine_with_ours'], 3)} with ours at damping "
        f"{agreement['ours']['damping']:g} (ours with the gradient: "
        f"{_span(agreement['ours']['cosine_with_gradient'], 3)}). Spearman's correlation of its "
        "scores "
        "over the whole training set is "
        f"{_span(ranks['published_with_gradient_product'], 3)} with the plain gradient product and "
        f"{_span(ranks['published_with_ours'], 3)} with ours. {_small_damping(agreement)}"
    )


def _small_damping(agreement: dict) -> str:
    tried = agreement["published_recursion_at_our_damping"]
    start = (
        f"The same recursion and number of steps at damping {tried['damping']:g} "
        f"(scale {tried['scale']:g})"
    )
    if not tried["finite"]:
        return f"{start} diverges."
    return (
        f"{start} has cosine {tried['cosine_with_gradient']:.3f} with the gradient and "
        f"{tried['cosine_with_ours']:.3f} with ours, at {tried['length_over_ours']:.2f} of its "
        f"length: in the flattest directions {tried['share_of_the_way']:.0%} of the way is done."
    )


def _floor(result: dict) -> str:
    floor = result["floor"]
    times, seconds, floor_seconds = (
        floor["times_the_floor"],
        floor["floor_seconds"],
        floor["seconds"],
    )
    q, _, tile = floor["tile"]
    return (
        "**Physical floor.** A pair needs one inner product of "
        f"{floor['pair'] / 1e6:.2f} M multiply-adds; a gradient "
        f"{floor['gradient'] / 1e6:.0f} M in the linear layers above the frozen ones (mean over "
        "real texts, no padding). A large matrix product runs at "
        f"{floor['rate_square'] / 1e9:.0f} G multiply-adds a second here, one of the shape of a "
        f"tile ({q} queries x {tile} gradients) at {floor['rate_tile'] / 1e9:.0f} G. At the first "
        f"rate the full scan of a shard would take {_amount(seconds['full'], 's')}; it takes "
        f"{_amount(floor_seconds['full'], 's')}, {_times(times['full'])} the floor; kNN scoring "
        f"{_amount(seconds['knn'], 's')} against {_amount(floor_seconds['knn'], 's')}, "
        f"{_times(times['knn'])}; the solve {_amount(seconds['solve'], 's')} against "
        f"{_amount(floor_seconds['solve'], 's')}, {_times(times['solve'])}."
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
