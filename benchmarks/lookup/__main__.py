"""Latency and throughput of the lookup service, and its answers under malformed requests.

`python -m benchmarks.lookup sizes STUDY FOLDER` needs a study of pairs of texts with a finished
audit by sketches, whose rows are multiplied; drawn sketches are written into FOLDER, 2 GB for a
million rows. In place of `sizes`, `memory STUDY FOLDER` measures their memory alone, and `requests
STUDY` sends 10,000 requests to a small study of single texts. Each part is kept, and the page is
written when all are there.
"""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.lookup.bad_bodies import BAD_BODIES
from benchmarks.lookup.multiplied import multiply_rows
from benchmarks.lookup.report import build_pages
from benchmarks.lookup.served import Load, read_memory, send_requests, start_service
from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from fastif.candidates.head_index import HEAD_LENGTH, RANKED
from tasks.data.inputs import read_inputs
from tasks.service.engine import Engine
from tasks.service.memory_forecast import forecast_memory
from tasks.service.open_engine import open_engine
from tasks.service.query_rows import QueryRows

SIZES = (10_000, 100_000, 1_000_000)
PARTS = {"sizes", "memory", "requests"}
SERIAL, PARALLEL, CONNECTIONS = 200, 120, 4
REQUESTS, BAD_SHARE = 10_000, 0.05
AT, RECALL_QUERIES = 10, 64


def main(part: str, study: str, folder: str = "") -> None:
    """Measure a part, and write the result and, if it is complete, its page."""
    result = read_result("lookup")
    if part == "requests":
        result["requests"] = measure_requests(Path(study))
    elif part == "memory":
        result["memory"] = measure_memory(Path(study), Path(folder))
    else:
        result |= measure_sizes(Path(study), Path(folder))
    publish("lookup", result, build_pages(result) if set(result) >= PARTS else [])


def measure_sizes(study: Path, folder: Path) -> dict:
    """Measure the service with each number of training rows."""
    engine = open_engine(study)
    queries = read_inputs(study).queries
    texts = list(zip(queries.texts, queries.text_pairs or [], strict=True))
    sizes = {str(rows): measure_size(engine, texts, rows, folder) for rows in SIZES}
    return {
        "machine": describe(),
        "load_average": os.getloadavg()[2],
        "real_rows": engine.index.count,
        "dimensions": engine.sketcher.dimensions,
        "parameters": engine.model.objective.space.size,
        "head_length": HEAD_LENGTH,
        "ranked": RANKED,
        "trust": engine.trust.as_json()["effects"],
        "sizes": sizes,
    }


def measure_memory(study: Path, folder: Path) -> dict:
    """Measure the memory of the process with each number of rows, after some queries."""
    engine, measured = open_engine(study), {}
    for rows in SIZES:
        multiplied = multiply_rows(engine, rows, folder)
        for _ in range(20):
            explain_first(multiplied)
        index = multiplied.index.sketches
        objective = multiplied.model.objective
        forecast = forecast_memory(multiplied.sketcher, index, multiplied.train, objective)
        measured[str(rows)] = read_memory() | {"forecast": forecast.resident / 1e9}
        print(rows, measured, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return measured


def explain_first(engine: Engine) -> None:
    """Explain the first training row without its label."""
    engine.explain(QueryRows(engine.train.take([0]), [None]))


def measure_size(engine: Engine, texts: list, rows: int, folder: Path) -> dict:
    """Measure the service with that many training rows."""
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    multiplied = multiply_rows(engine, rows, folder)
    built = time.perf_counter() - start
    recall = multiplied.index.measure_recall(AT, RECALL_QUERIES)
    draw = random.Random(0)
    bodies = [json.dumps({"texts": [draw.choice(texts)]}) for _ in range(SERIAL + PARALLEL)]
    with start_service(multiplied) as port:
        send_requests(port, bodies[:5], 1)
        serial = send_requests(port, bodies[:SERIAL], 1)
        parallel = send_requests(port, bodies[SERIAL:], CONNECTIONS)
    shutil.rmtree(folder, ignore_errors=True)
    measured = summarize(serial) | {
        "recall": recall,
        "recall_at": AT,
        "build_seconds": built,
        "parallel_per_second": PARALLEL / sum_seconds(parallel, CONNECTIONS),
    }
    print(rows, measured, flush=True)
    return measured


def summarize(load: Load) -> dict:
    """Percentiles of the latency in milliseconds, and processor time a query."""
    seconds = [answer.seconds for answer in load.answers if answer and answer.status == 200]
    quantiles = np.percentile(seconds, [50, 95, 99]) * 1e3
    return {
        "queries": len(seconds),
        **{
            name: float(value) for name, value in zip(("p50", "p95", "p99"), quantiles, strict=True)
        },
        "cpu_milliseconds": load.cpu_seconds / len(load.answers) * 1e3,
    }


def sum_seconds(load: Load, connections: int) -> float:
    """Time of the requests themselves, without the start of the client."""
    return sum(answer.seconds for answer in load.answers if answer) / connections


def measure_requests(study: Path) -> dict:
    """Send many requests, some malformed, and compare answers with those to the same ones alone."""
    engine, draw = open_engine(study), random.Random(1)
    texts = read_inputs(study).queries.texts
    good = [json.dumps({"texts": [text], "k": k}) for text in texts for k in (3, 5)]
    with start_service(engine) as port:
        alone = send_requests(port, good, 1)
        expected = {
            body: read_answers(answer) for body, answer in zip(good, alone.answers, strict=True)
        }
        kinds = list(BAD_BODIES)
        bad = set(draw.sample(range(REQUESTS), int(BAD_SHARE * REQUESTS)))
        bodies = [
            BAD_BODIES[draw.choice(kinds)] if place in bad else draw.choice(good)
            for place in range(REQUESTS)
        ]
        load = send_requests(port, bodies, CONNECTIONS)
    statuses: dict[str, int] = {}
    wrong = 0
    for place, (body, answer) in enumerate(zip(bodies, load.answers, strict=True)):
        status = "lost" if answer is None else f"{answer.status}"
        statuses[status] = statuses.get(status, 0) + 1
        if place in bad:
            wrong += not (answer and 400 <= answer.status < 500)
        else:
            wrong += read_answers(answer) != expected[body]
    return {
        "count": REQUESTS,
        "malformed": len(bad),
        "kinds": len(kinds),
        "statuses": statuses,
        "lost": statuses.get("lost", 0),
        "wrong": wrong,
        "connections": CONNECTIONS,
        "train_rows": engine.index.count,
    } | {name: summarize(load)[name] for name in ("p50", "p95", "p99")}


def read_answers(answer) -> object:
    """The explanations of an answer; None for one without."""
    return json.loads(answer.content).get("answers") if answer else None


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    main(*sys.argv[1:])
