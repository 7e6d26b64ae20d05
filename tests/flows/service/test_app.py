"""The HTTP interface: answers, refusals in the command line's words, token, limits and logs."""

import asyncio
import json
import logging
import random

import pytest
import tiny
from lookup_requests import send, send_async

from flows.service.app import LookupService
from flows.service.limits import Limits
from flows.service.work_queue import WorkQueue
from tasks.service.engine import Wish
from tasks.service.query_rows import name_texts, read_query_rows

TOKEN = "0123456789abcdef0123"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def queue():
    work = WorkQueue(waiting=64, threads=1)
    yield work
    work.close(10)


@pytest.fixture
def service(engine, queue):
    return LookupService(engine, Limits(body_bytes=20_000, characters=500), queue)


def test_answers_are_those_of_the_engine_with_unit_sign_and_trust(service, engine, sketched):
    texts = [row["text"] for row in tiny.rows_of(sketched / "queries.csv")[:3]]
    answer = send(service, json={"texts": texts, "labels": [None, "pos", None], "k": 4})
    assert answer.status_code == 200
    content = answer.json()
    labels = [None, "pos", None]
    rows = read_query_rows(engine.study, name_texts(engine.study, texts, labels))
    expected = [answer.as_json() for answer in engine.explain(rows, Wish(k=4))]
    assert content["answers"] == json.loads(json.dumps(expected))
    assert [a["measure"]["name"] for a in content["answers"]] == [
        "log-probability",
        "loss",
        "log-probability",
    ]
    assert content["answers"][0]["measure"]["unit"] == "nats"
    assert "positive: the row is helpful" in content["convention"]["sign"]
    assert content["trust"]["run"] == engine.trust.run
    assert content["trust"]["train_rows"] == tiny.TRAIN


def test_rows_with_the_columns_of_the_study_are_accepted(service):
    row = {"text": "the plot was fine", "label": "pos"}
    both = [
        send(service, json={"rows": [row]}),
        send(service, json={"texts": [row["text"]], "labels": ["pos"]}),
    ]
    assert both[0].status_code == 200
    assert both[0].json() == both[1].json()


BAD = {
    b"": "JSON in UTF-8",
    b"{": "JSON in UTF-8",
    b"\xff\xfe": "a byte that is not UTF-8",
    b"[" * 10_000: "",
    b'{"texts": ["fine"], "k": ' + b"9" * 5000 + b"}": "",
    b"[1]": "got an array",
    b"null": "got null",
    b"{}": "got neither",
    b'{"texts": ["a"], "rows": [{"text": "a"}]}': "got both",
    b'{"texts": ["a"], "texts": ["b"]}': "every key once",
    b'{"texts": "a"}': "expected an array; got a text",
    b'{"texts": []}': "1 to 32 queries",
    b'{"texts": [' + b'"a",' * 32 + b'"a"]}': "1 to 32 queries",
    b'{"texts": [1]}': "texts[0]: expected a text; got a number",
    b'{"texts": [["a", "b"]]}': "got 2 texts",
    b'{"texts": [""]}': "an empty text in row 1",
    b'{"texts": [" \\u200b"]}': "an empty text in row 1",
    b'{"texts": ["a\\u0000b"]}': "U+0000 at character 2",
    b'{"texts": ["a\\ud800b"]}': "U+D800 at character 2",
    b'{"texts": ["' + b"a" * 501 + b'"]}': "at most 500 characters",
    b'{"texts": ["a"], "labels": ["odd"]}': 'one of \\"neg\\", \\"pos\\"',
    b'{"texts": ["a"], "labels": [["pos"]]}': "column label",
    b'{"texts": ["a"], "labels": [{"a": 1}]}': "column label",
    b'{"texts": ["a"], "labels": []}': "labels",
    b'{"texts": ["a"], "k": 0}': "a whole number from 1 to 100",
    b'{"texts": ["a"], "k": true}': "got true or false",
    b'{"texts": ["a"], "k": NaN}': "numbers that JSON has",
    b'{"texts": ["a"], "k": 1e400}': "k",
    b'{"texts": ["a"], "neighbours": -1}': "from 0 to 100",
    b'{"texts": ["a"], "measure": "loss"}': "a label for every query",
    b'{"texts": ["a"], "measure": "mood"}': "margin",
    b'{"texts": ["a"], "measure": null}': "got null",
    b'{"texts": ["a"], "mode": 1}': "the keys texts",
    b'{"rows": [{"label": "pos"}]}': 'a column \\"text\\"',
    b'{"rows": [["a"]]}': "an object with the columns text, label",
    b'{"rows": [{"text": "a", "other": 1}]}': "the columns text, label",
    b'{"rows": [{"text": 5}]}': "column text",
    b'{"rows": [{"text": null}]}': "column text",
    b'{"rows": [{"text": ["a"]}]}': "column text",
    b'{"rows": [{"text": {"a": "b"}}]}': "column text",
    b'{"rows": [{"text": "a"}, {"text": 3}]}': "column text",
    b'{"rows": [{"text": "a"}], "labels": ["pos"]}': "no such key with rows",
}


@pytest.mark.parametrize(("body", "words"), BAD.items(), ids=lambda value: str(value)[:40])
def test_malformed_requests_are_refused_with_place_and_change(service, body, words):
    answer = send(service, content=body, headers=JSON)
    assert answer.status_code == 422
    assert words in answer.text
    for problem in answer.json()["error"]["problems"]:
        assert list(problem) == ["where", "expected", "got", "change"]
        assert all(problem.values())


def test_bodies_are_limited_in_size_type_and_time(service, engine, queue):
    assert send(service, content=b" " * 20_001, headers=JSON).status_code == 413
    assert send(service, content=b'{"texts": ["a"]}').status_code == 415
    plain = {"Content-Type": "text/plain"}
    assert send(service, content=b'{"texts": ["a"]}', headers=plain).status_code == 415

    async def drip():
        yield b'{"texts": '
        await asyncio.sleep(1)
        yield b'["a"]}'

    hurried = LookupService(engine, Limits(body_seconds=0.05), queue)
    assert send(hurried, content=drip(), headers=JSON).status_code == 408


def test_other_paths_and_methods_are_answered_in_json(service):
    for method, path, status in (
        ("GET", "/explain", 405),
        ("POST", "/health", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/%00", 404),
        ("DELETE", "/", 404),
    ):
        answer = send(service, method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["problems"]


def test_another_name_of_this_machine_is_refused(service, engine, queue):
    assert send(service, "GET", "/health", base="http://evil.example").status_code == 421
    assert send(service, "GET", "/health", base="http://[::1]:8400").status_code == 200
    public = LookupService(engine, Limits(), queue, TOKEN, is_local=False)
    assert send(public, "GET", "/health", base="http://example.org").status_code == 200


def test_a_token_is_required_where_there_is_one(engine, queue):
    service = LookupService(engine, Limits(), queue, TOKEN)
    query = {"json": {"texts": ["a fine film"]}}
    for given in (
        None,
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        "Bearer é",
    ):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        answer = send(service, headers=headers, **query)
        assert answer.status_code == 401
        assert TOKEN not in answer.text
        assert send(service, "GET", "/metrics", headers=headers).status_code == 401
        health = send(service, "GET", "/health", headers=headers)
        assert health.json() == {"status": "ok"}
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    assert send(service, headers=allowed, **query).status_code == 200
    assert send(service, "GET", "/health", headers=allowed).json()["study"] == "tiny"


def test_concurrent_requests_are_answered_as_serial_ones(service, sketched):
    draw = random.Random(0)
    texts = [row["text"] for row in tiny.rows_of(sketched / "queries.csv")]
    bodies = [
        {"texts": draw.sample(texts, draw.randint(1, 4)), "k": draw.randint(1, 9)}
        for _ in range(12)
    ]
    bodies[5] = {"texts": [""]}

    async def send_all():
        return await asyncio.gather(
            *(send_async(service, "POST", "/explain", json=body) for body in bodies)
        )

    together = asyncio.run(send_all())
    for body, answer in zip(bodies, together, strict=True):
        alone = send(service, json=body)
        assert (answer.status_code, answer.json()) == (alone.status_code, alone.json())


def test_no_text_is_logged_not_even_of_a_failure(service, engine, caplog, capfd, monkeypatch):
    secret = "a very private film"
    with caplog.at_level(logging.DEBUG):
        assert send(service, json={"texts": [secret]}).status_code == 200
        assert send(service, json={"texts": [secret], "labels": ["x"]}).status_code == 422
        full = LookupService(engine, Limits(), service.queue)
        monkeypatch.setattr(
            "flows.service.app._compute", lambda *_: (_ for _ in ()).throw(KeyError(secret))
        )
        answer = send(full, json={"texts": [secret]})
    assert answer.status_code == 500
    assert "private" not in answer.text
    assert "A request failed: KeyError at " in caplog.text
    output = capfd.readouterr()
    assert "private" not in caplog.text + output.out + output.err


def test_health_and_metrics_tell_the_state(service, engine, queue):
    send(service, json={"texts": ["a fine film", "bad"]})
    send(service, content=b"{", headers=JSON)
    send(service, "GET", "/x/a-private-name")
    text = send(service, "GET", "/metrics").text
    assert 'fastif_requests_total{path="/explain",status="200"} 1.0' in text
    assert 'fastif_requests_total{path="/explain",status="422"} 1.0' in text
    assert "fastif_queries_total 2.0" in text
    assert f"fastif_train_rows {tiny.TRAIN}.0" in text
    assert "private" not in text
    newer = LookupService(engine, Limits(), queue, find_newer=lambda: "tiny-new")
    health = send(newer, "GET", "/health").json()
    assert health["newer_run"] == "tiny-new"
    assert health["trust"]["search"]["recall"] == 1
