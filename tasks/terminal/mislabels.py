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

from fastif.mislabels.random_audit import MIN_AUDITED
from storage.mislabel_schemas import LABEL_SCORES
from tasks.mislabels.label_count import is_count_audited, read_label_count
from tasks.mislabels.results import MislabelResult
from tasks.results.group_names import ALL, format_group_value

SHOWN = 10
MAX_NEIGHBOUR_CHARS = 160
"""Letters of a neighbour that are shown."""

MIN_PSEUDO_R2 = 0.05
"""Of the labels' uncertainty, that features must take away for an order to mean much."""

UNKNOWN_COUNT = (
    "How many labels are wrong is not known: labels and features alone cannot tell it, since a "
    "label that is wrong by a rule that follows the text (a keyword, a habit of the annotators) "
    "looks right to every classifier that has learned from it. Verdicts on a random sample count "
    "all of them: fastif review export --random 100. Rows of certain label show them: [queries] "
    "trusted = true."
)


def render_mislabels(result: MislabelResult, study: Path, shown: int = SHOWN) -> RenderableType:
    """The most suspicious rows, what was counted, and what to do next with this study."""
    table = result.table.filter(pl.col("reviewed").is_null()).sort("rank")
    first = table.unique("cluster", keep="first", maintain_order=True).head(shown)
    body: list[RenderableType] = [
        _make_flagged_panel(result, row) for row in first.iter_rows(named=True)
    ]
    body.append(_make_facts_panel(result))
    body += [
        Panel(Text(text, style="bold red"), border_style="red") for text in warn_mislabels(result)
    ]
    study_option = "" if study == Path("study.toml") else f" --study {shlex.quote(str(study))}"
    body.append(Text(f"Next: fastif review export --out review.csv{study_option}", style="dim"))
    return Group(*body)


def warn_mislabels(result: MislabelResult) -> Iterator[str]:
    """What must not be overlooked."""
    facts = result.facts
    if facts["encoder_saw_labels"]:
        yield (
            "The texts were read by the model itself, which has seen their labels and defends "
            "them. Name a model that has not: [mislabels] encoder."
        )
    if facts["skill"] < MIN_PSEUDO_R2:
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


def render_mislabels_markdown(result: MislabelResult) -> str:
    """The counts as a Prefect artifact: numbers and ids, no example text."""
    facts = result.facts
    lines = [f"# Mislabels of {facts['study']}", "", "| label | rows | wrong | 90 % |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [f"| {' | '.join(cells[:4])} |" for cells in _format_counts(facts)]
    lines += [
        "",
        describe_flip_recall(facts),
        "",
        *describe_random_audit(facts),
        *_describe_unknown_count(facts),
    ]
    lines += [f"**{warning}**" for warning in warn_mislabels(result)]
    return "\n".join(lines) + "\n"


def make_flagged_table(result: MislabelResult, count: int = SHOWN) -> list[dict[str, str]]:
    """The most suspicious rows as a Prefect table: ids and labels, no example text."""
    first = result.table.filter(pl.col("reviewed").is_null()).sort("rank").head(count)
    return [
        {
            "id": str(row["id"]),
            "label": str(row["label"]),
            "suggested": str(row["suggested"]),
            "probability": _format_probability(row),
        }
        for row in first.iter_rows(named=True)
    ]


def describe_flip_recall(facts: dict[str, Any]) -> str:
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


def describe_trusted_leaks(facts: dict[str, Any]) -> list[str]:
    """That rows of certain label are training rows as well, if some are."""
    leaked = facts.get("trusted_in_train", 0)
    if not leaked:
        return []
    return [
        f"{leaked:,} of these are training rows, word for word: what they say of themselves is no "
        "evidence, and the count of wrong labels is not to be relied on. Give other rows, or "
        "import their labels as verdicts (fastif review import)"
    ]


def describe_random_audit(facts: dict[str, Any]) -> list[str]:
    """What a random sample says, and what it says nothing of; nothing where there is none."""
    audit = facts.get("drawn")
    if audit is None:
        return []
    head = f"{audit['rows']:,} rows at random, {audit['wrong']:,} of them wrong: "
    is_counted = is_count_audited(facts)
    if is_counted:
        lines = [f"{head}the count and the probabilities go by these"]
    else:
        lines = [f"{head}too few to count by ({MIN_AUDITED} are needed)"]
    if is_counted and audit["later"]:
        lines.append(
            f"{audit['later']:,} rows came after the draw and are not counted, and their "
            "probabilities are those of rows like the others: draw again (fastif review export "
            "--random 100)"
        )
    if is_counted and audit["gone"]:
        lines.append(
            f"{audit['gone']:,} of the {audit['population']:,} rows drawn from are gone or have "
            "another text or label: the count is of those that are left"
        )
    if audit["skipped"]:
        then = "the count takes" if is_counted else "a count would take"
        lines.append(
            f"{audit['skipped']:,} drawn rows have no verdict on which reviewers agree: {then} "
            "them to be like the others, which they are not if somebody chose which to look at"
        )
    return lines


def _describe_unknown_count(facts: dict[str, Any]) -> list[str]:
    """That the number of wrong labels is not known, unless something shows it."""
    return [] if read_label_count(facts) else [UNKNOWN_COUNT]


def _format_counts(facts: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Label, rows that are counted, wrong ones, interval and share; dashes if nothing is known."""
    rows = []
    for label in (*facts["by_label"], None):
        size = facts["rows"] if label is None else facts["by_label"][label]["rows"]
        count = read_label_count(facts, label)
        cells = ("-", "-", "-")
        if count is not None:
            interval, size = f"{count.low:,.0f} - {count.high:,.0f}", count.rows
            cells = (f"{count.expected:,.0f}", interval, f"{count.share:.1%}")
        # As a group's: a label may be called all.
        rows.append((ALL if label is None else format_group_value(label), f"{size:,}", *cells))
    if is_count_audited(facts) and facts["drawn"]["later"]:
        rows.append(("(after the draw)", f"{facts['drawn']['later']:,}", "-", "-", "-"))
    return rows


def _make_flagged_panel(result: MislabelResult, row: dict[str, Any]) -> RenderableType:
    is_judged = row["probability"] is not None
    suggestion = (", rather ", (f"{row['suggested']}", "bold green")) if is_judged else ()
    probability = (
        f"wrong with probability {_format_probability(row)}"
        if is_judged
        else _format_probability(row)
    )
    head = Text.assemble(
        (f"{row['label']}", "bold red"), *suggestion, f"   {probability}\n", _format_text(row, None)
    )
    duplicates = result.table.filter(pl.col("cluster") == row["cluster"]).height - 1
    if duplicates:
        head.append(f"\nand {duplicates} rows like it", style="italic")
    body: list[RenderableType] = [head]
    for name, words in (("conflicting", "nearest of another label"), ("agreeing", "of this label")):
        if row[name] is not None:
            other = result.table.row(row[name], named=True)
            line = Text.assemble(
                f"\n{words}: ", (f"{other['label']}", "bold"), (f"  {other['id']}\n", "dim")
            )
            body.append(line.append_text(_format_text(other, MAX_NEIGHBOUR_CHARS)))
    if row["harm"]:
        harm = f"\nharms queries by {row['harm']:.4f} nats in all, those of its own label by "
        body.append(Text(f"{harm}{row['harm_same_label']:.4f}", style="red"))
    return Panel(Group(*body), title=Text(f"{row['id']}"), title_align="left")


def _format_probability(row: dict[str, Any]) -> str:
    """The probability of a wrong label; in words for a row that nobody can judge."""
    probability = row["probability"]
    return (
        "cannot be judged: the only row of its class"
        if probability is None
        else f"{probability:.2f}"
    )


def _format_text(row: dict[str, Any], max_chars: int | None) -> Text:
    """The one or two texts of an example; never read as markup."""
    texts = [t for t in (row["text"], row["text_pair"]) if t is not None]
    truncated = [
        t if max_chars is None or len(t) <= max_chars else f"{t[: max_chars - 1]}…" for t in texts
    ]
    return Text("\n→ ".join(truncated))


def _make_facts_panel(result: MislabelResult) -> RenderableType:
    facts = result.facts
    counts = Table(box=None, padding=(0, 1))
    for name in ("label", "rows", "wrong", "90 % interval", "share"):
        counts.add_column(name, justify="left" if name == "label" else "right")
    for label, *cells in _format_counts(facts):
        counts.add_row(Text(label), *cells)
    lines = [f"\ncanaries  {describe_flip_recall(facts)}"]
    if facts["trusted"]:
        lines.append(f"trusted   {facts['trusted']:,} queries of certain label")
        lines += [f"trusted   {line}" for line in describe_trusted_leaks(facts)]
    lines += [f"reviewed  {line}" for line in _describe_reviewed(facts["reviewed"])]
    lines += [f"drawn     {line}" for line in describe_random_audit(facts)]
    lines += [f"features  {note}" for note in facts.get("columns", [])]
    signals = [
        name for name in LABEL_SCORES if result.table[name].null_count() < result.table.height
    ]
    lines.append(f"columns   {', '.join(signals)}")
    lines += [f"\n{line}" for line in _describe_unknown_count(facts)]
    count = read_label_count(facts)
    title = "labels"
    if count is not None:
        title = f"wrong labels, expected: {count.expected:,.0f} of {count.rows:,} rows"
    return Panel(Group(counts, Text("\n".join(lines))), title=title, title_align="left")


def _describe_reviewed(reviewed: dict[str, Any]) -> Iterator[str]:
    """What reviewers said, beside what had been expected of the same rows."""
    if reviewed["rows"]:
        share = reviewed["wrong"] / reviewed["rows"]
        predicted = reviewed.get("foreseen", 0)
        expected = ""
        if predicted == reviewed["rows"]:
            expected = f"; {reviewed['expected']:.0f} had been expected"
        elif predicted:
            expected = (
                f"; of the {predicted:,} with a probability from before "
                f"{reviewed['foreseen_wrong']:,} "
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
