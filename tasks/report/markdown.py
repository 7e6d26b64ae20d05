"""The findings of a report as Markdown, for Prefect: numbers and ids, no example text."""

from tasks.report.build import BuiltReport


def render_report_markdown(page: BuiltReport, link: str) -> str:
    """Render what to do, the tests against limits, and the summary sentences.

    Args:
        page: Report that was built.
        link: Address of the page.
    """
    actions = [f"{number}. {action}" for number, action in enumerate(page.actions, 1)]
    tests = [
        f"| {test.status.upper()} | {test.name} | {test.measured} | {test.bound} |"
        for test in page.tests
        if test.limit is not None
    ]
    table = ["| result | test | measured | limit |", "| --- | --- | --- | --- |", *tests]
    parts = [
        [f"# Data quality, run {page.run}"],
        ["## Do now", "", *(actions or ["Nothing."])],
        *([["## Tests", "", *table]] if tests else []),
        ["## Summary", "", *(f"- {sentence}" for sentence in page.headline)],
        [f"[Report page]({link})"],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
