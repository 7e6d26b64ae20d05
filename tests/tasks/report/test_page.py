"""The page of a run: complete, without network access, and texts are never markup."""

import re
from html.parser import HTMLParser

import pytest
import tiny
from audited_runs import audited

from tasks.mislabels.detect import detect_mislabels
from tasks.report.formatting import shorten_text
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>",
    "\"><svg onload=window.hit=1> ' javascript:alert(1) {{ 7 * 7 }} {% raw %}",
    "a\u202egnp.exe\u2066 \x00\x07\x1b[31m \ufeff\u200b",
    "👩\u200d👩\u200d👧 ❤\ufe0f 🇨🇭",
    '=HYPERLINK("http://x")',
)


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.seen = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_loads_nothing_from_a_network(data):
    html = render_page(build_page(data))
    addresses = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # namespaces
    assert "default-src 'none'" in html
    for tag, attributes in Elements(html).seen:
        assert tag not in ("link", "iframe", "object", "img", "base", "form")
        assert attributes.get("href", "#").startswith("#")


def test_the_page_of_a_run_is_reproducible(data):
    made = [re.sub(r"Made [\d: -]+ UTC", "", render_page(build_page(data))) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.long
def test_two_runs_are_compared(world):
    before = audited(world)
    queries = tiny.rows_of(world / "queries.csv")
    tiny.write_rows(world / "queries.csv", queries[:-2])
    data = audited(world)
    assert data.against == before.run
    html = render_page(build_page(data))
    assert f"on the {len(queries) - 2} queries of both runs" in html
    assert "rows that entered or left the 100 most" in html or not len(data.difference.rows)
    assert "Change by slice" in html
    assert data.difference.overall.queries == len(queries) - 2
    for part in data.difference.slices:
        assert f"<td>{part.value}</td>" in html
        assert 0 <= part.before <= 1
        assert 0 <= part.after <= 1


def test_hostile_texts_are_inert(world):
    for name in ("train.csv", "queries.csv"):
        rows = tiny.rows_of(world / name)
        for row, text in zip(rows, [*HOSTILE, "x" * 100_000], strict=False):
            row["text"] = text
            row["id"] = f"<b onclick=hit()>{row['id']}"
            row["kind"] = HOSTILE[0]  # in the pictures too
        tiny.write_rows(world / name, rows)
    data = audited(world)
    detect_mislabels.fn(str(world / "study.toml"))
    store = open_existing_store(load_study(world / "study.toml"))
    html = render_page(build_page(read_run_data(store, data.run, world / "study.toml")))
    elements = Elements(html).seen
    scripts = [attributes.get("type") for tag, attributes in elements if tag == "script"]
    assert scripts == ["application/json", None]
    assert not [a for _, a in elements if any(name.startswith("on") for name in a)]
    assert not [tag for tag, _ in elements if tag == "img"]
    assert "x" * 2001 not in html
    for hidden in "\u202e\u2066\x00\x1b\u200b":
        assert hidden not in html
    assert "⟨U+202E⟩" in html
    assert HOSTILE[3] in html  # emoji stay whole
    assert "{{ 7 * 7 }}" in html


DIVERGING = {"kind": "lissa", "depth": 200, "scale": 1e-6, "batch": 4}


@pytest.mark.default_cases("one query")
@pytest.mark.parametrize(
    ("queries", "changes"),
    [
        (1, {}),
        (17, {"solver": DIVERGING}),
        pytest.param(
            17,
            {"candidates": {"kind": "full"}, "queries": {"groups": None}},
            marks=pytest.mark.long,
        ),
        pytest.param(17, {"candidates": {"kind": "knn", "k": 1}}, marks=pytest.mark.long),
    ],
    ids=["one query", "no query answered", "no groups", "one candidate"],
)
def test_a_run_of_few_queries_has_a_page(world, queries, changes):
    tiny.write_rows(world / "queries.csv", tiny.rows_of(world / "queries.csv")[:queries])
    data = audited(world, **changes)
    page = build_page(data)
    assert len(page.cases) == queries
    assert len(page.headline) == 3
    if changes.get("solver"):
        assert not len(data.scores)
        assert "queries without scores" in page.headline[2]
    assert "</html>" in render_page(page)


def test_a_text_is_cut_between_characters_and_never_lost():
    assert shorten_text("ab", 2) == "ab"
    assert shorten_text("a\nb\tc") == "a\nb\tc"
    assert shorten_text(None) == "None"
