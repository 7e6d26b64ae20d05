"""Page of the fidelity of influence on a LoRA adapter."""

from benchmarks.page import ResultPage


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result of `python -m benchmarks.lora`."""
    methods = result["methods"]
    first = methods[0]
    rivals = " and ".join(
        f"{m['lds']:.2f} for {m['name'].split(',')[0].replace('gradient', 'the gradient')}"
        for m in methods[1:3]
    )
    halves, queries = result["halves"], result["queries"]
    return [
        ResultPage(
            "lora",
            "Influence on a LoRA adapter",
            "Do effects on a model that was tuned by LoRA predict retraining?",
            f"The LDS is {first['lds']:.2f} ({first['low']:.2f} to {first['high']:.2f}) for "
            f"influence, {rivals}. The measurement is small: {halves} halves, {queries} queries, "
            "one seed. The intervals of all differences include 0, so the order of the methods is "
            "open.",
            f"LDS {first['lds']:.2f} (95 %: {first['low']:.2f} to {first['high']:.2f})",
            [_make_method_table(methods), _make_grid(result["grid"])],
            _describe(result),
        )
    ]


def _make_method_table(methods: list[dict]) -> str:
    lines = [
        "| method | LDS | 95 % interval | influence minus it, 95 % interval |",
        "| --- | ---: | ---: | ---: |",
    ]
    for number, m in enumerate(methods):
        ahead = f"{m['behind_low']:+.2f} to {m['behind_high']:+.2f}" if number else ""
        lines.append(
            f"| {m['name']} | {m['lds']:.3f} | {m['low']:.2f} to {m['high']:.2f} | {ahead} |"
        )
    return "\n".join(lines)


def _make_grid(grid: dict) -> str:
    lines = ["LDS at other dampings, which nothing was selected by:", ""]
    lines += ["| method | damping | LDS |", "| --- | ---: | ---: |"]
    for name, scores in grid.items():
        lines += [f"| {name} | {value} | {lds:.3f} |" for value, lds in scores.items()]
    return "\n".join([*lines, "", "The damping of DataInf is a share, see below."])


def _describe(result: dict) -> str:
    machine, accuracy = result["machine"], result["accuracy"]
    correct = ", ".join(f"{share:.0%} of {name}" for name, share in accuracy.items())
    return "\n".join(
        [
            f"- **Data**: {result['rows']} random training rows and {result['queries']} random "
            "development rows of SST-2.",
            f"- **Model**: {result['recipe']}. {result['parameters']:,} parameters, all trained "
            f"and attributed; {result['frozen_layers']} layers below the adapter run once. It "
            f"predicts correctly {correct}.",
            f"- **Truth**: {result['halves']} models, each trained on a random half of the rows, "
            "one seed each. The ceiling, which the noise of retraining sets, was not measured: it "
            "takes a second set of seeds. 28 halves were planned; the rest was left out for time "
            "before any effect was computed.",
            "- **LDS**: Spearman's correlation over the halves of summed effects and margins, mean "
            "over the queries. Intervals: percentiles of a bootstrap over halves and queries "
            "together, the same draws for all methods. With so few halves they are wide.",
            "- **Influence**: Gauss-Newton over all rows, dual solver, damping 0.03 of the largest "
            "eigenvalue. No damping was selected by retraining, for any method.",
            "- **DataInf** by its formula ([Kwon et al.](../concepts/references.md)), every "
            "matrix of the adapter and of the head as a layer; damping: a share of the mean "
            "squared entry of a layer's gradients.",
            f"- **Hardware**: {machine['processor']}, {machine['threads']} thread.",
            "- **Command**: `python -m benchmarks.lora`, with the folder of `sst2` in "
            "`FASTIF_DATA`.",
        ]
    )
