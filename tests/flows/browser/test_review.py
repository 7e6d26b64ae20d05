"""Review in the page: by keys, kept in the browser, exported as `fastif review import` reads it."""

import json

import polars as pl
import pytest
import tiny
from review_steps import ROWS, download, list_rows, read_progress, start_review

from tasks.data.inputs import read_inputs
from tasks.mislabels.annotation_import import import_annotations
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.label_studio import parse_tasks
from tasks.mislabels.results import read_current_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

KEYS = ["k", "s", "n", "u", "1", "2", "s", "k", "s", "n"]
"""Decisions on the first ten rows; the classes are neg (1) and pos (2)."""


def expect_right(row, key):
    """Right label that a key stands for; None where the row stays unreviewed."""
    words = {"k": row["label"], "s": row["suggested"], "n": "none", "1": "neg", "2": "pos"}
    return words.get(key)


def import_decisions(page_file, path, tmp_path):
    """Import a file with every row in a cluster of its own, so that none stands for others."""
    study = tiny.copy(page_file.parent, tmp_path / "world") / "study.toml"
    store, inputs = open_existing_store(load_study(study)), read_inputs(study)
    table = read_current_result(store, inputs).table
    clusters = table.with_columns(cluster=pl.col("train"))
    outcome = import_annotations(store, inputs.study, inputs.train, clusters, path, "2026-01-01")
    assert outcome.refused == ()
    agreed = read_annotations(store, inputs.train, inputs.study.labels)
    return agreed, outcome


def test_ten_rows_are_reviewed_by_keyboard_alone_and_imported(page, page_file, tmp_path):
    rows = list_rows(page)
    start_review(page)
    for key in KEYS[:5]:
        page.keyboard.press(key)
    page.reload()
    assert page.get_by_role("dialog").is_visible()  # the address has the row
    page.keyboard.press("Escape")
    start_review(page)
    for key in KEYS[5:]:
        page.keyboard.press(key)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("reviewer").fill("Ann Lee")
    rights = {row["id"]: expect_right(row, key) for row, key in zip(rows, KEYS, strict=False)}
    decided = {name: right for name, right in rights.items() if right}
    wrong = sum(decided.get(row["id"], row["label"]) != row["label"] for row in rows)
    assert read_progress(page) == f"9 of 60 reviewed, {wrong} wrong, 1 unsure"
    assert dialog.get_by_text(f"first 25: {wrong} of 9 reviewed wrong").is_visible()
    path = tmp_path / "review.csv"
    exported = download(page, path, dialog, "Export decisions")
    assert {row["id"]: row["right_label"] for row in exported} == decided
    assert {row["reviewer"] for row in exported} == {"Ann Lee"}
    annotations, outcome = import_decisions(page_file, path, tmp_path)
    assert outcome.rows == len(decided) == len(annotations.agreed)
    texts = {row["id"]: row["row"] for row in rows}
    for name, right in decided.items():
        digest = bytes.fromhex(texts[name])
        assert annotations.agreed[digest] == (None if right == "none" else right)
    assert page.log_lines == []
    own = (page_file.as_uri(), "blob:")
    assert all(url.startswith(own) for url in page.fetched_urls)


def test_ticks_hidden_by_a_filter_are_exported(page, tmp_path):
    rows = list_rows(page)
    boxes = page.locator(f"{ROWS} td:first-child input")
    picked = [
        next(i for i, row in enumerate(rows) if row["label"] == label) for label in tiny.LABELS
    ]
    for place in [*picked, 7]:
        boxes.nth(place).check()
    page.get_by_role("combobox", name="given").select_option(rows[picked[0]]["label"])
    away = sum(rows[place]["label"] != rows[picked[0]]["label"] for place in {*picked, 7})
    assert page.get_by_text(f"3 selected, {away} hidden by the filter").is_visible()
    page.reload()
    page.locator("table[data-export] th", has_text="given").get_by_role("button").click()
    exported = download(page, tmp_path / "out.csv")
    assert {row["id"] for row in exported} == {rows[place]["id"] for place in {*picked, 7}}
    assert {row["right_label"] for row in exported} == {""}


def test_all_rows_are_exported_without_a_choice_and_the_shown_ones_can_be_ticked(page, tmp_path):
    assert len(download(page, tmp_path / "all.csv")) == 60
    page.get_by_role("combobox", name="given").select_option("neg")
    page.get_by_label("select all rows shown").check()
    exported = download(page, tmp_path / "some.csv")
    assert exported
    assert {row["label"] for row in exported} == {"neg"}
    assert len(exported) == page.locator(f"{ROWS}:not(.hidden)").count()
    page.get_by_role("button", name="Clear selection").click()
    start_review(page)
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert len(download(page, tmp_path / "decided.csv")) == 1


def test_a_label_studio_file_has_the_decisions_preselected(page, tmp_path):
    rows = list_rows(page)
    start_review(page)
    page.keyboard.press("k")
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export Label Studio").click()
    waiting.value.save_as(tmp_path / "review.json")
    tasks = json.loads((tmp_path / "review.json").read_text("utf-8"))
    assert [task["data"]["row"] for task in tasks] == [row["row"] for row in rows[:2]]
    results = [task["predictions"][0]["result"] for task in tasks]
    choices = [result[0]["value"]["choices"] for result in results]
    assert choices == [[rows[0]["label"]], ["none"]]
    for task, result in zip(tasks, results, strict=True):
        task["annotations"] = [{"completed_by": 7, "result": result}]
    records = parse_tasks(tasks).records
    assert [record.right for record in records] == [rows[0]["label"], "none"]


def test_two_tabs_keep_the_decisions_of_both(page, page_file):
    other = page.context.new_page()
    other.goto(page_file.as_uri())
    for tab, keys in ((page, "kk"), (other, "jjss"), (page, "u")):
        if not tab.get_by_role("dialog").is_visible():
            tab.goto(page_file.as_uri() + f"#suspects?row={list_rows(tab)[0]['id']}")
            tab.get_by_role("dialog").wait_for()
        for key in keys:
            tab.keyboard.press(key)
        for each in (page, other):  # storage events arrive after a moment
            each.locator("p .progress", has_text=read_progress(tab)).first.wait_for(
                state="attached"
            )
    assert read_progress(other) == "3 of 60 reviewed, 1 wrong, 1 unsure"


def test_keys_do_nothing_in_a_field_and_only_fitting_rows_are_walked(page):
    page.get_by_role("combobox", name="given").select_option("pos")
    start_review(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("reviewer").press_sequentially("ksnu12jp")
    assert read_progress(page) == "0 of 60 reviewed, 0 wrong"
    dialog.get_by_role("button", name="next").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        assert dialog.locator('[data-part="given"]').inner_text() == "pos"
    page.keyboard.press("s")
    assert read_progress(page) == "1 of 60 reviewed, 1 wrong"
    page.keyboard.press("p")
    page.keyboard.press("k")
    assert read_progress(page) == "1 of 60 reviewed, 0 wrong"
    page.once("dialog", lambda question: question.accept())
    dialog.get_by_role("button", name="Clear decisions").click()
    assert read_progress(page) == "0 of 60 reviewed, 0 wrong"


def test_the_address_opens_a_row_and_back_closes_it(page, page_file):
    rows = list_rows(page)
    page.get_by_role("combobox", name="given").select_option("neg")
    assert page.evaluate("location.hash") == "#suspects?given=neg"
    third = [row for row in rows if row["label"] == "neg"][2]
    page.locator(f"{ROWS}:not(.hidden) .rank").nth(2).click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator('[data-part="id"]').inner_text() == third["id"]
    address = page.evaluate("location.href")
    page.go_back()
    dialog.wait_for(state="hidden")
    assert page.evaluate("location.hash") == "#suspects?given=neg"
    other = page.context.new_page()
    other.goto(address)
    assert other.locator('[data-part="id"]').inner_text() == third["id"]
    assert other.get_by_role("combobox", name="given").input_value() == "neg"
    for hash_of in ("#suspects?row=nobody&given=unknown&x=%", "#now", "#quality", "#suspects?"):
        other.goto(page_file.as_uri() + hash_of)
        other.get_by_role("dialog").wait_for(state="hidden")
    other.get_by_role("link", name="Data quality").click()
    assert other.evaluate("location.hash") == "#quality"


def test_hostile_ids_and_texts_stay_texts(page):
    rows = list_rows(page)
    for name in ("train-0", next(row["id"] for row in rows if "<img" in row["id"])):
        page.evaluate(
            "name => { location.hash = `#suspects?${new URLSearchParams({row: name})}` }", name
        )
        dialog = page.get_by_role("dialog")
        dialog.locator('[data-part="id"]', has_text=name).wait_for()
        page.keyboard.press("n")
    assert "⟨U+202E⟩" in page.locator(ROWS, has_text="window.hit = 1</script>").first.inner_text()
    page.reload()
    assert read_progress(page).startswith("2 of 60 reviewed, 2 wrong")
    assert page.evaluate("window.hit") is None
    assert page.locator("dialog img, dialog script").count() == 0


def test_it_works_without_storage_and_says_so(browser, page_file, tmp_path):
    context = browser.new_context(accept_downloads=True)
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })"
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    start_review(page)
    page.keyboard.press("s")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_text("does not keep decisions").is_visible()
    assert len(download(page, tmp_path / "out.csv", dialog, "Export decisions")) == 1
    context.close()


@pytest.mark.parametrize(
    "stored", ["{", "[]", "null", '{"decisions": [["train-1", "?"], 3], "ticks": 1}']
)
def test_a_damaged_record_is_ignored(page, stored):
    key = page.evaluate("'fastif review ' + document.querySelector('[data-review]').dataset.review")
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, stored])
    page.reload()
    assert read_progress(page) == "0 of 60 reviewed, 0 wrong"
    assert page.log_lines == []
