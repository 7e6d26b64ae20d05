"""The work queue: what waits is bounded, late requests are dropped, the end finishes the rest."""

import asyncio
import threading
import time

from lookup_requests import send_async

from flows.service.app import LookupService
from flows.service.limits import Limits
from flows.service.work_queue import WorkQueue


def test_requests_beyond_the_queue_are_refused_and_the_others_answered(engine):
    queue = WorkQueue(waiting=2, threads=1)
    blocked = threading.Event()

    async def run():
        service = LookupService(engine, Limits(), queue)
        first = asyncio.create_task(queue.compute(blocked.wait, 30))
        await asyncio.sleep(0.05)
        tasks = [
            asyncio.create_task(send_async(service, "POST", "/explain", json={"texts": ["fine"]}))
            for _ in range(5)
        ]
        while sum(task.done() for task in tasks) < 3:
            await asyncio.sleep(0.01)
        refused = [task.result() for task in tasks if task.done()]
        assert {answer.status_code for answer in refused} == {503}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        blocked.set()
        await first
        return await asyncio.gather(*tasks)

    answers = asyncio.run(run())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    queue.close(10)


def test_a_request_that_waits_too_long_is_not_computed(engine):
    queue, done = WorkQueue(waiting=2, threads=1), []
    blocked = threading.Event()

    async def run():
        first = asyncio.create_task(queue.compute(blocked.wait, 30))
        await asyncio.sleep(0.05)
        service = LookupService(engine, Limits(wait_seconds=0.05), queue)
        answer = await send_async(service, "POST", "/explain", json={"texts": ["fine"]})
        late = asyncio.create_task(queue.compute(lambda: done.append(1), 30))
        blocked.set()
        await asyncio.gather(first, late)
        return answer

    assert asyncio.run(run()).status_code == 503
    assert done == [1]
    queue.close(10)


def test_a_closed_queue_finishes_what_waits():
    queue, done = WorkQueue(waiting=8, threads=1), []

    async def run():
        jobs = [queue.compute(lambda i=i: (time.sleep(0.01), done.append(i)), 5) for i in range(4)]
        tasks = [asyncio.create_task(job) for job in jobs]
        await asyncio.sleep(0)
        queue.close(5)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert done == [0, 1, 2, 3]
