"""The summary of an audit on the terminal: two queries with texts, a line for each further one."""

import io

import handmade_runs
from handmade_runs import Row
from rich.console import Console

from tasks.results.summary import read_summary
from tasks.terminal.audit import render_summary


def test_two_queries_are_explained_and_the_others_take_a_line_each(tmp_path):
    store = handmade_runs.open_store(tmp_path)
    queries = [Row(f"q{i}", f"text of query {i}", loss=float(i)) for i in range(7)]
    handmade_runs.write_run(store, "one", [Row("t", "a row")], queries)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_summary(read_summary(store, "one", tmp_path)))
    text = console.export_text()
    assert [f"text of query {i}" in text for i in range(7)] == [False] * 5 + [True] * 2
    lines = [line.strip("│ \n").split() for line in text.splitlines()]
    further = [line for line in lines if line and line[0] in ("q2", "q3", "q4")]
    assert [line[:2] for line in further] == [["q4", "4.00"], ["q3", "3.00"], ["q2", "2.00"]]
    assert not any(line and line[0] in ("q0", "q1") for line in lines)
