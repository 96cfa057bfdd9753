"""How long a server takes to answer one client: python -m benchmarks.probe PORT PATH SECONDS

Asks again and again over one connection, with a pause in between; prints the median and the 99th
percentile of the latency, in milliseconds.
"""

import http.client
import statistics
import sys
import time

PAUSE = 0.005  # seconds
HEAD_START = 0.5  # seconds for the load beside it to build up


def latencies(port: int, path: str, seconds: float) -> list[float]:
    """In milliseconds. A connection that the server closes after each answer is made anew."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    time.sleep(HEAD_START)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        taken.append((time.perf_counter() - begun) * 1000)
        if response.status != 200 or body != b"hello":
            raise RuntimeError(f"{path} is answered {response.status}, {body!r}")
        time.sleep(PAUSE)
    connection.close()
    return taken


def main(port: str, path: str, seconds: str) -> None:
    taken = latencies(int(port), path, float(seconds))
    print(statistics.median(taken), percentile99(taken))


def percentile99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


if __name__ == "__main__":
    main(*sys.argv[1:])
