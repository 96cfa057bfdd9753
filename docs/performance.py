"""The table and the picture of the page on performance: python docs/performance.py

Reads benchmarks.txt, which `python -m benchmarks.gateway` printed, and writes performance.csv and
performance.svg next to it.
"""

import csv
import io
import re
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
SERVERS = {
    "aiodjango": "aiodjango",
    "aiodjango, uvloop": "aiodjango, uvloop",
    "Django on the loop": "limit",
    "gunicorn gthread": "gunicorn, threads",
    "granian": "granian",
    "uvicorn, Django's ASGI": "uvicorn, ASGI",
    "daphne, Django's ASGI": "daphne, ASGI",
    "bare aiohttp": "aiohttp alone",
}
NAMES = {"Django on the loop": "limit: on the loop, no threads"}  # where the picture has room
# What a row of the table shows: the title of the benchmark, its column, and how it is called.
ROWS = [
    ("plain GET", "cpu us", "plain GET, µs"),
    ("template page of 10 kB", "cpu us", "template page of 10 kB, µs"),
    ("ORM read, PostgreSQL", "cpu us", "one query in PostgreSQL, µs"),
    ("page of five queries, PostgreSQL", "cpu us", "page of five queries, µs"),
    ("plain GET, two workers", "cpu us", "plain GET, two workers, µs"),
    ("coroutine view", "cpu us", "coroutine view, µs"),
    ("coroutine beside sync views that compute", "p50 ms", "coroutine view, others busy, ms"),
    ("a worker after its first request", "MiB", "memory of a worker, MiB"),
    ("a worker after its first request", "cpu s", "start of a worker, s"),
]
# The groups of bars in the picture.
PICTURE = {
    "plain GET": "plain GET",
    "template page of 10 kB": "template page",
    "page of five queries, PostgreSQL": "page of five queries",
    "coroutine view": "coroutine view",
}
BARS = {
    "Django on the loop": "#9aa5b1",
    "bare aiohttp": "#9aa5b1",
    "aiodjango": "#0b6e4f",
    "gunicorn gthread": "#c98a1b",
    "uvicorn, Django's ASGI": "#7a5195",
}


def read(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """The figures: by benchmark, server and column."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for block in re.split(r"\n\n+", text.strip()):
        title, *lines = block.splitlines()
        if not lines or "ratio" not in lines[0]:
            continue
        columns = re.split(r" {2,}", lines[0].partition("ratio")[0].strip())
        columns = re.findall(r"\S+/s|\S+ \S+|\S+", "  ".join(columns))
        found[title] = {}
        for line in lines[1:]:
            server, *figures = re.split(r" {2,}", line.strip())
            if server in SERVERS:
                found[title][server] = dict(zip(columns, figures, strict=False))
    return found


def table(figures: dict[str, dict[str, dict[str, str]]]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["", *SERVERS.values()])
    for benchmark, column, name in ROWS:
        cells = [figures[benchmark].get(server, {}).get(column, "") for server in SERVERS]
        writer.writerow([name, *cells])
    return output.getvalue()


def picture(figures: dict[str, dict[str, dict[str, str]]]) -> str:
    """Processor time for a request, as a multiple of ours."""
    width, left, bar, scale = 720, 150, 16, 46
    parts, y = [], 34
    for benchmark, title in PICTURE.items():
        servers = [server for server in BARS if server in figures[benchmark]]
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(title)}</text>')
        ours = float(figures[benchmark]["aiodjango"]["cpu us"].replace(",", ""))
        for server in servers:
            ratio = float(figures[benchmark][server]["cpu us"].replace(",", "")) / ours
            label = f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.1f}"
            long = max(2, round(ratio * scale))
            parts += [
                f'<rect x="{left}" y="{y}" width="{long}" height="{bar - 3}"'
                f' fill="{BARS[server]}"/>',
                f'<text x="{left + long + 6}" y="{y + 11}">'
                f"{escape(NAMES.get(server, SERVERS[server]))} {label}</text>",
            ]
            y += bar
        y += 14
    title = "Processor time for a request, as a multiple of aiodjango's (less is better)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 100} {y}"'
        f' font-family="sans-serif" font-size="12" fill="#1a1a1a">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="8" y="20" font-size="13">{escape(title)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def main() -> None:
    figures = read((FOLDER / "benchmarks.txt").read_text())
    (FOLDER / "performance.csv").write_text(table(figures))
    (FOLDER / "performance.svg").write_text(picture(figures))


if __name__ == "__main__":
    main()
