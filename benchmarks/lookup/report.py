"""Page of the lookup service."""

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

GOAL_MILLISECONDS = 100


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result."""
    largest = result["sizes"]["1000000"]
    requests = result["requests"]
    is_fast = largest["p95"] < GOAL_MILLISECONDS
    page = ResultPage(
        name="lookup",
        title="Lookup service",
        question="How long does `fastif serve` take to explain one prediction?",
        answer=f"At 1,000,000 training rows 95 % of the queries take at most "
        f"{largest['p95']:.0f} ms, and "
        f"{largest['cpu_milliseconds']:.0f} ms of processor time each (goal p95 < "
        f"{GOAL_MILLISECONDS} ms: {format_goal(is_fast)}). Of "
        f"{requests['count']:,} requests, {requests['malformed']} of them malformed, "
        f"{requests['lost']} were lost and {requests['wrong']} answered wrongly.",
        headline=f"p95 {largest['p95']:.0f} ms, processor {largest['cpu_milliseconds']:.0f} ms at "
        "1,000,000 rows",
        tables=[_make_size_table(result), _describe_requests(requests)],
        measured=_describe_measurement(result),
        tried=TRIED,
    )
    return [page]


def _make_size_table(result: dict) -> str:
    head = (
        "training rows",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "processor, ms a query",
        "queries a second, 4 clients",
        "recall of the top and bottom 10",
        "memory, GB",
        "forecast, GB",
        "mapped files, GB",
        "start, s",
    )
    rows = [
        (
            f"{int(count):,}",
            f"{size['p50']:.0f}",
            f"{size['p95']:.0f}",
            f"{size['p99']:.0f}",
            f"{size['cpu_milliseconds']:.0f}",
            f"{size['parallel_per_second']:.1f}",
            f"{size['recall']:.3f}",
            f"{result['memory'][count]['RssAnon']:.1f}",
            f"{result['memory'][count]['forecast']:.1f}",
            f"{result['memory'][count]['RssFile'] + result['memory'][count]['RssShmem']:.1f}",
            f"{size['build_seconds']:.0f}",
        )
        for count, size in result["sizes"].items()
    ]
    return table(head, rows, left=0)


def _describe_requests(requests: dict) -> str:
    statuses = ", ".join(
        f"{count:,} with {status}" for status, count in requests["statuses"].items()
    )
    return (
        f"{requests['count']:,} requests over {requests['connections']} connections, "
        f"{requests['malformed']} of them malformed in {requests['kinds']} ways: {statuses}. Every "
        "answer was compared with that to the same request alone."
    )


def _describe_measurement(result: dict) -> str:
    size = result["sizes"]["1000000"]
    return bullets(
        "`python -m benchmarks.lookup sizes STUDY FOLDER`, `memory STUDY FOLDER` for the memory, "
        "and `requests STUDY` for the many requests",
        f"{describe_machine(result)}, {result['machine']['threads']} thread for torch; the load "
        f"average of 15 minutes at the end was {result['load_average']:.1f}, the benchmark "
        "included; the 10,000 requests and the memory were measured before, next to other work. "
        f"{_describe_two_threads(result)}",
        f"all-MiniLM-L6-v2 on MultiNLI pairs, {result['parameters']:,} attributed parameters; a "
        "query is one pair, its answer has 5 helpful, 5 harmful and 3 near rows",
        f"sketches of {result['dimensions']:,} numbers; those of {result['real_rows']:,} rows are "
        "real, **all others are drawn around them**: a real one plus half the difference of two "
        "others. Recall at these sizes is that of drawn sketches too, against all inner products, "
        "with sketches of 64 training rows as queries",
        f"first pass over {result['head_length']} principal components in bfloat16, second over "
        f"{result['ranked']:,} rows each of the highest products, the lowest and the highest "
        "cosines",
        f"{size['queries']} requests one after the other over one connection, by a client in "
        "another process of the same machine; sketches were in the page cache",
        "memory is that of a process that loaded one study, multiplied its rows and explained 20 "
        "queries; mapped files grow to the size of all sketches, 2 GB at 1,000,000 rows, as far as "
        "memory is free",
        f"the {result['requests']['count']:,} requests go to a BERT of three layers with "
        f"{result['requests']['train_rows']} training rows, so that they take minutes",
    )


TRIED = bullets(
    "one product with all sketches in single precision reads 4 GB a query at 1,000,000 rows, 0.3 s "
    "and more on two cores",
    "bounds by the lengths of what 64 components leave out (Cauchy-Schwarz) keep half of 3,500 "
    "real rows for the median query, since these components hold two thirds of the energy, so they "
    "prove nothing",
    "4-bit product quantisation by FAISS multiplies 64 components of 1,000,000 rows in 4 ms of "
    "processor time instead of 20 ms; it would need FAISS for the service, and is not built in",
)


def _describe_two_threads(result: dict) -> str:
    """Describe the latency of the same service with two threads for torch."""
    sizes = result["two_threads"].values()
    p95 = ", ".join(f"{size['p95']:.0f}" for size in sizes)
    processor = ", ".join(f"{size['cpu_milliseconds']:.0f}" for size in sizes)
    return f"With two threads for torch: p95 {p95} ms, processor {processor} ms"
