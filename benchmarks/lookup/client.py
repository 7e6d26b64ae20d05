"""HTTP client of the benchmark, a separate process: `python -m benchmarks.lookup.client ...`.

Arguments are the port, the number of connections, and a file with one JSON string a line, the body
of a request. One JSON line a request is printed: position, status, seconds and answer.
"""

import json
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path


def main(port: str, connections: str, file: str) -> None:
    """Send all bodies over some connections that stay open, and print what came back."""
    bodies = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]
    positions, lines, lock = iter(range(len(bodies))), [], threading.Lock()

    def send() -> None:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=120)
        while True:
            with lock:
                position = next(positions, None)
            if position is None:
                return
            start = time.perf_counter()
            headers = {"Content-Type": "application/json"}
            body = bodies[position].encode("utf-8", "surrogatepass")
            connection.request("POST", "/explain", body, headers)
            answer = connection.getresponse()
            content = answer.read().decode()
            seconds = time.perf_counter() - start
            with lock:
                lines.append([position, answer.status, seconds, content])

    threads = [threading.Thread(target=send) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(map(json.dumps, lines)))


if __name__ == "__main__":
    main(*sys.argv[1:])
