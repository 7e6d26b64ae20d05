"""Studies inferred from tables of known roles under many names."""

import random

import polars as pl
import pytest
from made_tables import infer, train_classifier
from PIL import Image

from tasks.onboarding.arguments import read_arguments
from tasks.onboarding.profiled_table import MAX_ROWS, open_table
from tasks.onboarding.propose import Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.study.errors import StudyError

ROLES = ("id", "text", "label", "source", "day")
NAMES = (
    ("Ticket Nr.", "Customer Message", "Verdict", "source", "date"),
    ("uuid", "review", "class", "annotator", "created"),
    ("idx", "sentence", "y", "channel", "timestamp"),
    ("id", "Text", "Label", "region", "day"),
    ("key", "col7", "target", "country", "month"),
    ("c1", "c2", "c3", "c4", "c5"),
)


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[2])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_recognised_under_other_names(
    rows, query_rows, classifier, tmp_path, names, suffix
):
    order = random.Random(names[2] + suffix).sample(range(5), 5)
    paths = []
    for name, table in (("train rows", rows), ("queries", query_rows)):
        table = table.select(ROLES).rename(dict(zip(ROLES, names, strict=True)))
        table = table.select([table.columns[place] for place in order])
        path = tmp_path / f"{name}.{suffix}"
        getattr(table, f"write_{suffix}")(path)
        paths.append(path)
    proposal = infer(classifier, *paths)
    for roles in (proposal.train, proposal.queries):
        assert roles.content.text == (names[1],)
        assert roles.content.label == names[2]
        assert roles.id == names[0]
        assert roles.groups == (names[3],)
        assert not any(reason.is_open for reason in roles.content.reasons.values())
    assert proposal.order.labels == ("blue", "red", "green")
    assert proposal.order.is_certain


def test_tables_may_name_their_columns_differently(rows, query_rows, classifier, tmp_path):
    rows.write_parquet(tmp_path / "train.parquet")
    other = query_rows.rename({"id": "nr", "text": "message", "label": "truth", "source": "team"})
    other.drop("second").write_csv(tmp_path / "queries.csv")
    proposal = infer(classifier, tmp_path / "train.parquet", tmp_path / "queries.csv")
    assert proposal.train.content.text == ("text",)
    content = proposal.queries.content
    assert (content.text, content.label) == (("message",), "truth")
    assert (proposal.queries.id, proposal.queries.groups) == ("nr", ("team",))


def test_model_tells_which_of_two_texts_it_reads(rows, classifier, tmp_path):
    table = rows.select("id", pl.col("second").alias("message"), "text", "label")
    table.write_csv(tmp_path / "train.csv")
    content = infer(classifier, tmp_path / "train.csv").train.content
    assert content.text == ("text",)
    assert not content.reasons["text"].is_open
    assert "message" in content.reasons["text"].text


def test_pairs_are_read_in_the_order_of_the_model(rows, query_rows, tmp_path):
    for name, table in (("train", rows), ("queries", query_rows)):
        table = table.rename({"second": "premise", "text": "hypothesis"})
        table.select("hypothesis", "label", "premise", "id").write_csv(tmp_path / f"{name}.csv")
    model = train_classifier(tmp_path / "model", rows, ["red", "green", "blue"], ("second", "text"))
    proposal = infer(model, tmp_path / "train.csv", tmp_path / "queries.csv")
    for roles in (proposal.train, proposal.queries):
        assert roles.content.text == ("premise", "hypothesis")
    assert proposal.length.tokens <= 64


def test_second_opinions_are_neither_label_nor_group(rows, tmp_path):
    draw = random.Random(0)
    other = [draw.choice(["red", "green", "blue"]) for _ in rows["id"]]
    table = rows.with_columns(label_clean=pl.Series(other), prediction=pl.col("label"))
    table.write_parquet(tmp_path / "train.parquet")
    roles = infer(None, tmp_path / "train.parquet").train
    assert roles.content.label == "label"
    assert roles.groups == ("source",)
    assert {*roles.second_labels} == {"label_clean", "prediction"}


def test_columns_of_a_table_without_text_are_features(tmp_path):
    draw = random.Random(0)
    table = pl.DataFrame(
        {
            "customer": [f"c{i:05}" for i in range(200)],
            "age": [draw.randint(18, 80) for _ in range(200)],
            "income": [draw.gauss(0, 1) for _ in range(200)],
            "job": [draw.choice(["clerk", "cook"]) for _ in range(200)],
            "day": ["2026-01-01"] * 200,
            "constant": [1] * 200,
            "label_name": ["x"] * 200,
            "churn": [draw.choice([0, 1]) for _ in range(200)],
        }
    ).with_columns(label_name=pl.col("churn").replace_strict({0: "stays", 1: "leaves"}))
    table.write_csv(tmp_path / "t.csv")
    roles = infer(None, tmp_path / "t.csv", label=["churn"]).train
    assert roles.features == ("age", "income", "job")
    assert (roles.content.label, roles.id) == ("churn", "customer")


def test_named_columns_are_taken_and_checked(rows, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    roles = infer(None, tmp_path / "t.csv", text=["second"], label=["source"], groups=[]).train
    assert (roles.content.text, roles.content.label) == (("second",), "source")
    assert roles.groups == ()
    with pytest.raises(StudyError, match="--label") as caught:
        infer(None, tmp_path / "t.csv", label=["labl"])
    assert 'did you mean "label"?' in str(caught.value)


def test_missing_roles_are_refused_with_the_option_to_set(rows, classifier, tmp_path):
    rows.drop("label", "source").write_csv(tmp_path / "unlabelled.csv")
    with pytest.raises(StudyError, match="--label COLUMN"):
        infer(classifier, tmp_path / "unlabelled.csv")
    rows.select("id", "label").write_csv(tmp_path / "textless.csv")
    with pytest.raises(StudyError, match="--text COLUMN"):
        infer(classifier, tmp_path / "textless.csv")


def test_label_without_a_telling_name_is_marked(tmp_path):
    draw = random.Random(0)
    table = pl.DataFrame(
        {
            "x": [draw.gauss(0, 1) for _ in range(100)],
            "colour": [draw.choice(["red", "blue"]) for _ in range(100)],
            "z": [draw.choice([0, 1]) for _ in range(100)],
        }
    )
    table.write_parquet(tmp_path / "t.parquet")
    content = infer(None, tmp_path / "t.parquet").train.content
    assert content.label == "z"
    assert content.reasons["label"].alternatives == ("colour",)


@pytest.mark.parametrize(
    ("label", "doubt"),
    [
        (None, "neither its name nor its values"),
        (pl.lit("red"), '"label" is named like a label, but it has a single value'),
        (
            pl.int_range(pl.len()) / 7,
            '"label" is named like a label, but it has numbers with fractions, 240 values',
        ),
    ],
)
def test_a_column_is_not_the_label_because_no_other_can_be(
    rows, classifier, tmp_path, label, doubt
):
    label = () if label is None else (label.alias("label"),)
    rows.drop("label").with_columns(*label).write_csv(tmp_path / "t.csv")
    for model in (None,) if "240" in doubt else (None, classifier):
        content = infer(model, tmp_path / "t.csv").train.content
        assert content.label == "source"
        assert doubt in content.reasons["label"].doubt
        assert content.reasons["label"].is_open


def test_predictions_settle_a_label_without_a_telling_name(rows, classifier, tmp_path):
    rows.select("id", "text", c9="label").write_csv(tmp_path / "t.csv")
    assert infer(None, tmp_path / "t.csv").train.content.reasons["label"].is_open
    assert not infer(classifier, tmp_path / "t.csv").train.content.reasons["label"].is_open


def test_an_answer_is_not_doubted(tmp_path):
    class Second:
        are_certain = True

        def choose(self, question):
            assert len(question.options) == 2
            return 1

    columns = {"x": range(100), "colour": ["red", "blue"] * 50, "z": [0, 0, 1, 1] * 25}
    table = pl.DataFrame(columns).with_columns(pl.col("x") / 7)
    table.write_parquet(tmp_path / "t.parquet")
    content = propose_study(Request(None, tmp_path / "t.parquet", None), Second()).train.content
    assert content.label == "colour"
    assert not content.reasons["label"].is_open


def test_texts_in_scripts_without_spaces_are_texts(tmp_path):
    draw = random.Random(0)
    signs = "今天天气很好我们去公园散步吧这部电影非常无聊"
    texts = ["".join(draw.choices(signs, k=draw.randint(12, 30))) for _ in range(60)]
    table = pl.DataFrame({"a": texts, "b": [draw.choice(["好", "坏"]) for _ in texts]})
    table.write_parquet(tmp_path / "t.parquet")
    content = infer(None, tmp_path / "t.parquet").train.content
    assert (content.text, content.label) == (("a",), "b")


def test_european_spreadsheet_is_read(tmp_path):
    """Semicolons, decimal commas and Windows-1252, as a spreadsheet saves them."""
    draw = random.Random(0)
    lines = ["Größe;Fläche;Klasse"]
    lines += [f"{draw.uniform(1, 9):.2f};{draw.uniform(1, 9):.3f}".replace(".", ",")
              + f";{draw.choice(['für', 'gegen'])}" for _ in range(80)]  # fmt: skip
    (tmp_path / "t.csv").write_bytes("\r\n".join(lines).encode("cp1252"))
    roles = infer(None, tmp_path / "t.csv", label=["Klasse"]).train
    assert roles.features == ("Größe", "Fläche")
    assert {*roles.labels} == {"für", "gegen"}
    assert roles.table.keys


@pytest.mark.parametrize("text", [("second", "text"), ("text",)])
def test_model_tells_pairs_of_any_names_and_their_order(rows, tmp_path, text):
    names = {"text": "c2", "second": "c3", "label": "c4", "id": "c1"}
    rows.select(*names).rename(names).write_csv(tmp_path / "t.csv")
    model = train_classifier(tmp_path / "model", rows, ["red", "green", "blue"], text)
    content = infer(model, tmp_path / "t.csv").train.content
    assert content.text == tuple(names[name] for name in text)
    assert content.label == "c4"


def test_numbers_among_the_labels_and_lists_stay_features(tmp_path):
    """Pixels and labels from 0 to 9, measurements of many values, embeddings."""
    draw = random.Random(0)
    count = 1500
    labels = [draw.randint(0, 9) for _ in range(count)]
    table = pl.DataFrame(
        {
            "pixel": [draw.randint(0, 9) for _ in range(count)],
            "weight": [draw.gauss(0, 1) for _ in range(count)],
            "embedding": [[draw.random() for _ in range(4)] for _ in range(count)],
            "predicted": [draw.randint(0, 9) for _ in range(count)],
            "target": labels,
            "copy": labels,
        }
    )
    table.write_parquet(tmp_path / "t.parquet")
    roles = infer(None, tmp_path / "t.parquet").train
    assert roles.features == ("pixel", "weight", "embedding")
    assert roles.content.label == "target"
    assert {*roles.second_labels} == {"predicted", "copy"}


def test_texts_of_one_pattern_are_no_codes(tmp_path):
    texts = [f"order {i} arrived {i % 7} days late and broken" for i in range(60)]
    table = pl.DataFrame({"code": [f"A-{i}" for i in range(60)], "c": texts, "label": [0, 1] * 30})
    table.write_csv(tmp_path / "t.csv")
    roles = infer(None, tmp_path / "t.csv").train
    assert (roles.content.text, roles.id) == (("c",), "code")


def test_images_are_recognised_in_folders_and_by_paths(tmp_path):
    """A folder with a subfolder a class, and a table with the paths of the same files."""
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), len(name)).save(tmp_path / name)
    assert read_arguments([str(tmp_path)]).train == tmp_path
    roles = infer(None, tmp_path).train
    assert (roles.image, roles.content.label, roles.id) == ("image", "label", "path")
    table = pl.DataFrame({"file": names, "kind": [name[:3] for name in names]})
    table.write_csv(tmp_path / "t.csv")
    roles = infer(None, tmp_path / "t.csv").train
    assert (roles.image, roles.content.label, roles.id) == ("file", "kind", None)


def test_labels_and_ids_are_those_of_all_rows(tmp_path):
    count = MAX_ROWS + 3
    ids = [str(row) for row in range(count - 1)] + ["0"]
    labels = ["good", "bad"] * (MAX_ROWS // 2) + ["good", "late", "late"]
    frame = pl.DataFrame({"id": ids, "text": ["some words of a text"] * count, "label": labels})
    frame.write_csv(tmp_path / "rows.csv", separator=";")
    proposal = propose_study(Request(None, tmp_path / "rows.csv", None), BestGuesses())
    assert proposal.train.id is None
    assert proposal.order.labels == ("bad", "good", "late")
    frame[:-1].write_csv(tmp_path / "rows.csv", separator=";")
    proposal = propose_study(Request(None, tmp_path / "rows.csv", None), BestGuesses())
    assert proposal.train.id == "id"


@pytest.mark.parametrize("role", ["train", "queries"])
def test_an_undecided_form_names_the_section_of_the_table(tmp_path, role):
    (tmp_path / "rows.csv").write_text("id;a,text;b,label\n1;x,y;z,w\n")
    with pytest.raises(StudyError) as caught:
        open_table(tmp_path / "rows.csv", role)
    assert [problem.where for problem in caught.value.problems] == [f"[{role}] separator"]
