"""Page of the time and memory of decoders next to BERT."""

from collections.abc import Sequence

from benchmarks.page import ResultPage, bullets, describe_machine, table

NAME = "decoder-cost"
REFERENCE = "BERT"
HEAD = ("model, attributed", "parameters", "attributed", "ms a row", "next to BERT")
HEAD += ("training pass, ms a row", "next to BERT", "peak MB", "next to BERT")


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result."""
    rows, largest = [], 0.0
    for cut, models in result["models"].items():
        bases = _summarize(models[REFERENCE])
        for name, rounds in models.items():
            costs = _summarize(rounds)
            ratios = [cost / base for cost, base in zip(costs, bases, strict=True)]
            largest = max(largest, ratios[0])
            rows.append(_make_row(f"{name}, {cut}", rounds[0], costs, ratios))
    others = [name for name in next(iter(result["models"].values())) if name != REFERENCE]
    return [
        ResultPage(
            NAME,
            "Time and memory of decoders next to BERT",
            "How much more do audits of decoders take than those of a BERT of the same size?",
            f"An audit of {' or '.join(others)} takes at most {largest:.2f} times the processor "
            f"time of one of BERT. Their training passes take {_describe_span(result)} times. "
            "With all parameters, the scores of GPT-2 take a backward pass for each row, by a "
            "profile, instead of one for a batch.",
            f"at most {largest:.2f} times the time of BERT",
            [table(HEAD, rows), _make_parts(result)],
            _describe(result),
        )
    ]


def _summarize(rounds: Sequence[dict]) -> tuple[float, float, float]:
    """Return the least seconds of the audit and of a training pass, and the least memory."""
    return (
        min(sum(entry["seconds"].values()) for entry in rounds),
        min(entry["training"] for entry in rounds),
        min(entry["megabytes"] or 0.0 for entry in rounds) or float("nan"),
    )


def _make_row(
    name: str, entry: dict, costs: Sequence[float], ratios: Sequence[float]
) -> tuple[str, ...]:
    rows = entry["rows"]
    return (
        name,
        f"{entry['parameters']:,}",
        f"{entry['attributed']:,}",
        f"{1000 * costs[0] / rows:.1f}",
        f"{ratios[0]:.2f}",
        f"{1000 * costs[1] / rows:.1f}",
        f"{ratios[1]:.2f}",
        f"{costs[2]:,.0f}",
        f"{ratios[2]:.2f}",
    )


def _make_parts(result: dict) -> str:
    """Return the least seconds of each part of the audits."""
    models = result["models"]
    names = list(next(iter(models.values()))[REFERENCE][0]["seconds"])
    rows = [
        (f"{name}, {cut}", *(f"{min(e['seconds'][part] for e in rounds):.2f}" for part in names))
        for cut, entries in models.items()
        for name, rounds in entries.items()
    ]
    return table(("seconds of the part", *names), rows)


def _describe_span(result: dict) -> str:
    ratios = [
        _summarize(rounds)[1] / _summarize(models[REFERENCE])[1]
        for models in result["models"].values()
        for name, rounds in models.items()
        if name != REFERENCE
    ]
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _describe(result: dict) -> str:
    sizes = result["sizes"]
    return bullets(
        f"Random weights, {sizes['layers']} layers of width {sizes['width']} with "
        f"{sizes['heads']} heads, {sizes['words']:,} words. The feed-forward blocks have as many "
        "weights: four times the width, or 8/3 of it where they are gated (Llama).",
        f"{_describe_counts(result['models'])}. {sizes['shortest']} to {sizes['longest']} random "
        f"tokens a row, the same ones for all models; batches of {sizes['batch_size']}.",
        "An audit: frozen layers once, exact Gauss-Newton with the dual solver, scores of all rows "
        "for all queries. A training pass: forward and backward, one gradient a batch, of the same "
        "parameters without cached layers, which is what the models themselves cost.",
        f"The models in turns in one process, after a small audit of each; the least of "
        f"{sizes['rounds']} rounds. Processor seconds of one thread; memory is the peak of the "
        "process beyond that before the audit. The trial of a model on a few rows, which does not "
        "grow with the table, is left out.",
        "Not shown: GPUs, attention without eager code, longer texts, larger models.",
        describe_machine(result),
        "`python -m benchmarks.decoders.cost`",
    )


def _describe_counts(models: dict) -> str:
    entries = {cut: rounds[REFERENCE][0] for cut, rounds in models.items()}
    return "; ".join(
        f"{entry['rows']} training rows and {entry['queries']} queries with `{cut}`"
        for cut, entry in entries.items()
    )
