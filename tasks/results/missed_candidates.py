"""What a person should read of the recall that a run was found to have."""

from collections.abc import Iterator

LITTLE = 0.5
CHANCE, GAP = 0.05, 0.1
"""A group is named if it lies so far below the others, and would by chance as seldom as this."""


def recall_evidence(told: list[dict]) -> str:
    """The recall over all queries, and that of each method where there are several.

    >>> recall_evidence([{"at": 10, "queries": 8, "share": 0.9, "low": 0.6, "high": 1.0}])
    '0.90 of the top 10 (0.60 - 1.00), 8 queries scanned in full'
    """
    each: dict[str | None, list[dict]] = {}
    for one in told:
        if not _group(one):
            each.setdefault(one.get("method"), []).append(one)
    parts = [
        f"{one['share']:.2f} of the top {one['at']} ({one['low']:.2f} - {one['high']:.2f})"
        for one in each.pop(None)
    ]
    alone = ""
    for name, shares in each.items():
        alone += f"; {name} alone " + " and ".join(f"{one['share']:.2f}" for one in shares)
    alike = told[0].get("agreement")
    scores = "" if alike is None else f"; scores correlate {alike:.3f} with exact ones"
    return f"{', '.join(parts)}, {told[0]['queries']} queries scanned in full{alone}{scores}"


def recall_alarms(told: list[dict]) -> Iterator[str]:
    """Whether the candidates miss most of what matters, and whose queries they serve worse.

    >>> poor = {"at": 10, "queries": 4, "share": 0.55, "low": 0.3, "high": 0.8, "label": "neg"}
    >>> list(recall_alarms([{"at": 10, "share": 0.8}, poor | {"rest": 1.0, "chance": 0.01}]))
    ['The candidates hold less for label neg: 0.55 of the top 10 (0.30 - 0.80), others 1.00.']
    """
    if told and told[0]["share"] < LITTLE:
        yield (
            f"The candidates hold {told[0]['share']:.0%} of the {told[0]['at']} most influential "
            'rows of a query: take [candidates] kind = "sketch", or "full".'
        )
    worse: dict[str, dict] = {}
    for one in told:
        if _group(one) and not one.get("method") and _behind(one):
            worse.setdefault(_group(one), one)
    for group, one in worse.items():
        yield (
            f"The candidates hold less for {group}: {one['share']:.2f} of the top {one['at']} "
            f"({one['low']:.2f} - {one['high']:.2f}), others {one['rest']:.2f}."
        )


def _group(one: dict) -> str:
    """The group of an entry; empty for all queries, as in every entry of older runs."""
    named = [f"{kind} {one[kind]}" for kind in ("label", "slice") if one.get(kind) is not None]
    return named[0] if named else ""


def _behind(one: dict) -> bool:
    chance = one["chance"]
    return chance is not None and chance <= CHANCE and one["rest"] - one["share"] >= GAP
