"""The section of docs/results.md on a full scan against others, written from its JSON."""

from statistics import median

from benchmarks.bulk.sides.registry import SIDES


def section(result: dict) -> str:
    """The section as Markdown."""
    parts = [
        _head(result),
        *_missing(result),
        _sides(result),
        _ratios(result),
        _settings(result),
        _notes(result),
    ]
    parts += [_residuals(result["residuals"])] if result["residuals"] else []
    parts += [_agreement(result["agreement"])] if result["agreement"] else []
    return "## Full scan against the paper's way and other packages\n\n" + "\n\n".join(parts) + "\n"


def _head(result: dict) -> str:
    machine, sizes = result["machine"], result["sizes"]
    turns = [turn for side in result["raw"].values() for turn in side if "load" in turn]
    loads = [load for turn in turns for load in turn["load"]]
    return (
        f"`python -m benchmarks.bulk.against`, {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, {sizes['threads']} threads a side, torch "
        f"{machine['versions']['torch']}, load {min(loads):.1f} to {max(loads):.1f}. SST-2, MiniLM "
        f"layer 5 + pooler + classifier: {sizes['rows']:,} training rows, {sizes['queries']} "
        "queries, single precision. Every side in a process of its own."
    )


def _missing(result: dict) -> list[str]:
    names = [SIDES[name].title for name in result["missing"]]
    names += [] if result["residuals"] else ["the residuals of s_test"]
    return [f"Not measured yet: {'; '.join(names)}."] if names else []


def _sides(result: dict) -> str:
    queries = result["sizes"]["queries"]
    rows = ["| side | rounds | seconds | processor seconds | a query | parts, seconds | peak MB |"]
    rows += ["| --- | ---: | ---: | ---: | ---: | --- | ---: |"]
    for name, side in result["sides"].items():
        mark = " *" if side["multiplied_up"] else ""
        parts = ", ".join(f"{part} {seconds:.3g}" for part, seconds in side["parts"].items())
        rows.append(
            f"| {SIDES[name].title} | {side['rounds']} | {side['wall']:,.3g}{mark} "
            f"| {side['cpu']:,.3g}{mark} | {_amount(side['wall'] / queries)}{mark} "
            f"| {parts} | {side['peak_mb']:,.0f} |"
        )
    rows += [
        f"| {SIDES[name].title} | failed: {reason[:100].replace('|', '/')} | | | | | |"
        for name, reason in result["failures"].items()
    ]
    return "\n".join(rows)


def _ratios(result: dict) -> str:
    rows = ["| against | ours | faster by | least - most | in processor seconds | goal | |"]
    rows += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for ratio in result["ratios"]:
        wall, sides = ratio["wall"], [SIDES[ratio[key]].title for key in ("side", "against")]
        rows.append(
            f"| {' | '.join(sides)} | {_times(wall['median'])} "
            f"| {_times(wall['least'])} - {_times(wall['most'])} "
            f"| {_times(ratio['cpu']['median'])} | {_times(ratio['goal'])} "
            f"| {'reached' if ratio['reached'] else '**not reached**'} |"
        )
    return "\n".join(rows)


def _settings(result: dict) -> str:
    lines = []
    for side in SIDES.values():
        description = side.description.format(**result["sizes"])
        version = result["versions"].get(side.package)
        lines.append(f"- {side.title} ({side.package} {version}): {description}.")
    return "\n".join(lines)


def _notes(result: dict) -> str:
    sizes = result["sizes"]
    return (
        f"\\* multiplied up: of the paper's way {sizes['solved']} whole s_tests and "
        f"{sizes['scored']} candidate scores a round were timed, of dattri's conjugate gradients "
        f"{sizes['few']} queries. The first column counts all that answers the queries from a "
        "trained model: factors, solves and scores. What the frozen layers make of the rows is "
        "given to every package and left out of these seconds (`prefix` under parts); against the "
        "paper's way, which runs through the whole model, it is counted. Batches of the other "
        "packages are sorted by length and cut to their longest row, which none of them does by "
        "itself; dattri solves each query once, where its own loop would solve it again for every "
        "batch of training rows."
    )


def _residuals(residuals: dict) -> str:
    rows = ["| s_test | at λ | residual on the Gauss-Newton matrix | on the Hessian |"]
    rows += ["| --- | --- | ---: | ---: |"]
    for at, label in (("paper", "the paper's, 50"), ("ours", "ours")):
        for side, sides in residuals[at].items():
            cells = (_span(sides[name]) for name in ("Gauss-Newton", "Hessian"))
            rows.append(f"| {side} | {label} | {' | '.join(cells)} |")
    note = (
        "‖b - (A + λI) x‖ / ‖b‖ over all training rows, median (most) of the queries that the "
        "paper's way solved. At our λ its recursion ran with scale "
        f"{residuals['scale_at_ours']:g}, "
        "for one query. Its recursion solves for the Hessian, `Dual` for the Gauss-Newton matrix; "
        "each is measured on both."
    )
    return "\n".join(rows) + "\n\n" + note


def _agreement(pairs: list[dict]) -> str:
    rows = [
        "| scores of | and of | Pearson's correlation | Spearman's |",
        "| --- | --- | ---: | ---: |",
    ]
    for agreement in pairs:
        cells = (
            f"{agreement[kind]['median']:.4f} ({agreement[kind]['least']:.4f})"
            for kind in ("pearson", "spearman")
        )
        rows.append(
            f"| {' | '.join([*(SIDES[name].title for name in agreement['sides']), *cells])} |"
        )
    note = (
        "Over all training rows, median (least) of the queries. kronfluence samples labels where "
        "fastif takes their expectation."
    )
    return "\n".join(rows) + "\n\n" + note


def _span(values: list[float]) -> str:
    return f"{median(values):.2g} ({max(values):.2g})"


def _amount(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"
