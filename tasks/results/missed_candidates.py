"""Recall of the candidates of a run: description, and warnings for slices with low recall."""

from collections.abc import Iterator

MIN_RECALL = 0.5
MAX_P_VALUE, MIN_GAP = 0.05, 0.1
"""Largest p-value and least gap of recall at which a slice is reported as worse than the others."""


def describe_recall(entries: list[dict]) -> str:
    """Format the recall over all queries, and that of each method of a union.

    >>> describe_recall([{"at": 10, "queries": 8, "share": 0.9, "low": 0.6, "high": 1.0}])
    '0.90 of the top 10 (0.60 - 1.00), 8 queries scanned in full'
    """
    by_method: dict[str | None, list[dict]] = {}
    for entry in entries:
        if not _format_group(entry):
            by_method.setdefault(entry.get("method"), []).append(entry)
    overall = [
        f"{entry['share']:.2f} of the top {entry['at']} ({entry['low']:.2f} - {entry['high']:.2f})"
        for entry in by_method.pop(None)
    ]
    per_method = ""
    for name, shares in by_method.items():
        per_method += f"; {name} alone " + " and ".join(f"{entry['share']:.2f}" for entry in shares)
    agreement = entries[0].get("agreement")
    scores = "" if agreement is None else f"; scores correlate {agreement:.3f} with exact ones"
    return (
        f"{', '.join(overall)}, {entries[0]['queries']} queries scanned in full{per_method}{scores}"
    )


def warn_low_recall(entries: list[dict]) -> Iterator[str]:
    """Warn of low recall, over all queries or for single labels and slices.

    >>> poor = {"at": 10, "queries": 4, "share": 0.55, "low": 0.3, "high": 0.8, "label": "neg"}
    >>> list(warn_low_recall([{"at": 10, "share": 0.8}, poor | {"rest": 1.0, "chance": 0.01}]))
    ['Recall is lower for label neg: 0.55 of the top 10 (0.30 - 0.80), others 1.00.']
    """
    if entries and entries[0]["share"] < MIN_RECALL:
        yield (
            f"The candidates contain only {entries[0]['share']:.0%} of the {entries[0]['at']} most "
            'influential rows of a query: set [candidates] kind = "sketch", or "full".'
        )
    worse: dict[str, dict] = {}
    for entry in entries:
        if _format_group(entry) and not entry.get("method") and _is_behind(entry):
            worse.setdefault(_format_group(entry), entry)
    for group, entry in worse.items():
        yield (
            f"Recall is lower for {group}: {entry['share']:.2f} of the top {entry['at']} "
            f"({entry['low']:.2f} - {entry['high']:.2f}), others {entry['rest']:.2f}."
        )


def _format_group(entry: dict) -> str:
    """Name the label or slice of an entry; empty for all queries, as in entries of older runs."""
    names = [f"{kind} {entry[kind]}" for kind in ("label", "slice") if entry.get(kind) is not None]
    return names[0] if names else ""


def _is_behind(entry: dict) -> bool:
    p_value = entry["chance"]
    return (
        p_value is not None and p_value <= MAX_P_VALUE and entry["rest"] - entry["share"] >= MIN_GAP
    )
