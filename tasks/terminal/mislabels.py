"""A search for wrong labels, drawn for a terminal and as a Prefect artifact."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fastif.mislabels.random_audit import FEWEST
from storage import SIGNALS
from tasks.mislabels.label_count import counted_by_draw, label_count
from tasks.mislabels.results import Found
from tasks.results.group_names import ALL, name_of

SHOWN = 10
CUT = 160
"""Letters of a neighbour that are shown."""

LEAST_SKILL = 0.05
"""Of the labels' uncertainty, that features must take away for an order to mean much."""

UNKNOWN = (
    "How many labels are wrong is not known: labels and features alone cannot tell it, since a "
    "label that is wrong by a rule that follows the text (a keyword, a habit of the annotators) "
    "looks right to every classifier that has learned from it. Verdicts on a random sample count "
    "all of them: fastif review export --random 100. Rows of certain label show them: [queries] "
    "trusted = true."
)


def draw_mislabels(found: Found, study: Path, shown: int = SHOWN) -> RenderableType:
    """The most suspicious rows, what was counted, and what to do next with this study."""
    table = found.table.filter(pl.col("reviewed").is_null()).sort("rank")
    first = table.unique("cluster", keep="first", maintain_order=True).head(shown)
    parts: list[RenderableType] = [_suspect(found, row) for row in first.iter_rows(named=True)]
    parts.append(_facts(found))
    parts += [Panel(Text(text, style="bold red"), border_style="red") for text in alarms(found)]
    named = "" if study == Path("study.toml") else f" --study {shlex.quote(str(study))}"
    parts.append(Text(f"Next: fastif review export --out review.csv{named}", style="dim"))
    return Group(*parts)


def alarms(found: Found) -> Iterator[str]:
    """What must not be overlooked."""
    facts = found.facts
    if facts["encoder_saw_labels"]:
        yield (
            "The texts were read by the model itself, which has seen their labels and defends "
            "them. Name a model that has not: [mislabels] encoder."
        )
    if facts["skill"] < LEAST_SKILL:
        yield (
            "What the encoder sees hardly tells the labels apart (it takes away "
            f"{max(0.0, facts['skill']):.0%} of their uncertainty): the order means little. Name a "
            "better [mislabels] encoder."
        )
    if facts["reviewed"]["conflicts"]:
        yield (
            f"Reviewers disagree on {facts['reviewed']['conflicts']} rows, which are not used. "
            "See `fastif review conflicts`."
        )


def markdown(found: Found) -> str:
    """The counts as a Prefect artifact: numbers and ids, no example text."""
    facts = found.facts
    lines = [f"# Mislabels of {facts['study']}", "", "| label | rows | wrong | 90 % |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [f"| {' | '.join(cells[:4])} |" for cells in _counts(facts)]
    lines += ["", recall_told(facts), "", *drawn_told(facts), *_unknown(facts)]
    lines += [f"**{alarm}**" for alarm in alarms(found)]
    return "\n".join(lines) + "\n"


def suspects(found: Found, count: int = SHOWN) -> list[dict[str, str]]:
    """The most suspicious rows as a Prefect table: ids and labels, no example text."""
    first = found.table.filter(pl.col("reviewed").is_null()).sort("rank").head(count)
    return [
        {
            "id": str(row["id"]),
            "label": str(row["label"]),
            "suggested": str(row["suggested"]),
            "probability": _chance(row),
        }
        for row in first.iter_rows(named=True)
    ]


def recall_told(facts: dict[str, Any]) -> str:
    """Recall of injected label flips, in words."""
    recall = facts["recall"]
    if not recall["planted"]:
        return "no label could be flipped: every row has a verdict or is more likely wrong"
    shares = [_percent(recall[kind]) for kind in ("any", "confusable")]
    return (
        f"of {recall['planted']} labels flipped on purpose in copies, {shares[0]} (flipped to any "
        f"label) and {shares[1]} (to a likely one) were among the first {recall['budget']:,} rows, "
        "beside what was suspicious before"
    )


def _percent(share: float) -> str:
    return "none" if share != share else f"{share:.0%}"  # NaN: no flip of the kind


def trusted_told(facts: dict[str, Any]) -> list[str]:
    """That rows of certain label are training rows as well, if some are."""
    leaked = facts.get("trusted_in_train", 0)
    if not leaked:
        return []
    return [
        f"{leaked:,} of these are training rows, word for word: what they say of themselves is no "
        "evidence, and the count of wrong labels is not to be relied on. Give other rows, or "
        "import their labels as verdicts (fastif review import)"
    ]


def drawn_told(facts: dict[str, Any]) -> list[str]:
    """What a random sample says, and what it says nothing of; nothing where there is none."""
    drawn = facts.get("drawn")
    if drawn is None:
        return []
    head = f"{drawn['rows']:,} rows at random, {drawn['wrong']:,} of them wrong: "
    is_counted = counted_by_draw(facts)
    if is_counted:
        lines = [f"{head}the count and the probabilities go by these"]
    else:
        lines = [f"{head}too few to count by ({FEWEST} are needed)"]
    if is_counted and drawn["later"]:
        lines.append(
            f"{drawn['later']:,} rows came after the draw and are not counted, and their "
            "probabilities are those of rows like the others: draw again (fastif review export "
            "--random 100)"
        )
    if is_counted and drawn["gone"]:
        lines.append(
            f"{drawn['gone']:,} of the {drawn['population']:,} rows drawn from are gone or have "
            "another text or label: the count is of those that are left"
        )
    if drawn["skipped"]:
        then = "the count takes" if is_counted else "a count would take"
        lines.append(
            f"{drawn['skipped']:,} drawn rows have no verdict on which reviewers agree: {then} "
            "them to be like the others, which they are not if somebody chose which to look at"
        )
    return lines


def _unknown(facts: dict[str, Any]) -> list[str]:
    """That the number of wrong labels is not known, unless something shows it."""
    return [] if label_count(facts) else [UNKNOWN]


def _counts(facts: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Label, rows that are counted, wrong ones, interval and share; dashes if nothing is known."""
    rows = []
    for label in (*facts["by_label"], None):
        size = facts["rows"] if label is None else facts["by_label"][label]["rows"]
        count = label_count(facts, label)
        known = ("-", "-", "-")
        if count is not None:
            interval, size = f"{count.low:,.0f} - {count.high:,.0f}", count.rows
            known = (f"{count.expected:,.0f}", interval, f"{count.share:.1%}")
        # As a group's: a label may be called all.
        rows.append((ALL if label is None else name_of(label), f"{size:,}", *known))
    if counted_by_draw(facts) and facts["drawn"]["later"]:
        rows.append(("(after the draw)", f"{facts['drawn']['later']:,}", "-", "-", "-"))
    return rows


def _suspect(found: Found, row: dict[str, Any]) -> RenderableType:
    judged = row["probability"] is not None
    rather = (", rather ", (f"{row['suggested']}", "bold green")) if judged else ()
    said = f"wrong with probability {_chance(row)}" if judged else _chance(row)
    head = Text.assemble((f"{row['label']}", "bold red"), *rather, f"   {said}\n", _text(row, None))
    alike = found.table.filter(pl.col("cluster") == row["cluster"]).height - 1
    if alike:
        head.append(f"\nand {alike} rows like it", style="italic")
    body: list[RenderableType] = [head]
    for name, words in (("conflicting", "nearest of another label"), ("agreeing", "of this label")):
        if row[name] is not None:
            other = found.table.row(row[name], named=True)
            line = Text.assemble(
                f"\n{words}: ", (f"{other['label']}", "bold"), (f"  {other['id']}\n", "dim")
            )
            body.append(line.append_text(_text(other, CUT)))
    if row["harm"]:
        told = f"\nharms queries by {row['harm']:.4f} nats in all, those of its own label by "
        body.append(Text(f"{told}{row['harm_same_label']:.4f}", style="red"))
    return Panel(Group(*body), title=Text(f"{row['id']}"), title_align="left")


def _chance(row: dict[str, Any]) -> str:
    """The probability of a wrong label; in words for a row that nobody can judge."""
    chance = row["probability"]
    return "cannot be judged: the only row of its class" if chance is None else f"{chance:.2f}"


def _text(row: dict[str, Any], most: int | None) -> Text:
    """The one or two texts of an example; never read as markup."""
    parts = [t for t in (row["text"], row["text_pair"]) if t is not None]
    cut = [t if most is None or len(t) <= most else f"{t[: most - 1]}…" for t in parts]
    return Text("\n→ ".join(cut))


def _facts(found: Found) -> RenderableType:
    facts = found.facts
    counts = Table(box=None, padding=(0, 1))
    for name in ("label", "rows", "wrong", "90 % interval", "share"):
        counts.add_column(name, justify="left" if name == "label" else "right")
    for label, *cells in _counts(facts):
        counts.add_row(Text(label), *cells)
    lines = [f"\ncanaries  {recall_told(facts)}"]
    if facts["trusted"]:
        lines.append(f"trusted   {facts['trusted']:,} queries of certain label")
        lines += [f"trusted   {line}" for line in trusted_told(facts)]
    lines += [f"reviewed  {line}" for line in _reviewed(facts["reviewed"])]
    lines += [f"drawn     {line}" for line in drawn_told(facts)]
    lines += [f"features  {note}" for note in facts.get("columns", [])]
    signals = [name for name in SIGNALS if found.table[name].null_count() < found.table.height]
    lines.append(f"columns   {', '.join(signals)}")
    lines += [f"\n{line}" for line in _unknown(facts)]
    count = label_count(facts)
    title = "labels"
    if count is not None:
        title = f"wrong labels, expected: {count.expected:,.0f} of {count.rows:,} rows"
    return Panel(Group(counts, Text("\n".join(lines))), title=title, title_align="left")


def _reviewed(reviewed: dict[str, Any]) -> Iterator[str]:
    """What reviewers said, beside what had been expected of the same rows."""
    if reviewed["rows"]:
        share = reviewed["wrong"] / reviewed["rows"]
        known = reviewed.get("foreseen", 0)
        expected = ""
        if known == reviewed["rows"]:
            expected = f"; {reviewed['expected']:.0f} had been expected"
        elif known:
            expected = (
                f"; of the {known:,} with a probability from before {reviewed['foreseen_wrong']:,} "
                f"are, and {reviewed['expected']:.0f} had been expected"
            )
        wrong = f"{reviewed['wrong']:,} of them wrong ({share:.0%}{expected})"
        yield f"{reviewed['rows']:,} rows, {wrong}"
    for old, new in reviewed.get("renamed", {}).items():
        yield f"label {old} is taken to be called {new} now, since its rows have this label"
    for label, count in reviewed.get("unusable", {}).items():
        yield (
            f"{count} verdicts say {label}, which is no label of the study: rows that have one of "
            "its labels count as wrong, and none is known to be right"
        )
