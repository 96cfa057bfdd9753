"""The table and the picture of the page on performance show what was measured."""

import importlib.util

from tests.support.environment import ROOT

DOCS = ROOT / "docs"


def load_script():
    spec = importlib.util.spec_from_file_location("performance", DOCS / "performance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_and_picture_are_those_of_the_figures():
    script = load_script()
    figures = script.read((DOCS / "benchmarks.txt").read_text())
    assert (DOCS / "performance.csv").read_text() == script.table(figures)
    assert (DOCS / "performance.svg").read_text() == script.picture(figures)


def test_figures_are_read():
    script = load_script()
    figures = script.read(
        "a row\n"
        "              req/s   cpu us   p99 ms   ratio   range         cpu     p99\n"
        "  aiodjango     1,913     552     53.6\n"
        "  granian       1,295     453     75.2    0.41   0.22-1.03    0.81    0.47   lost\n"
        "  -  nginx: not their work\n"
    )
    assert figures == {
        "a row": {
            "aiodjango": {"req/s": "1,913", "cpu us": "552", "p99 ms": "53.6"},
            "granian": {"req/s": "1,295", "cpu us": "453", "p99 ms": "75.2"},
        }
    }


def test_statements_of_the_page():
    """What the text says in words, the figures say too."""
    script = load_script()
    figures = script.read((DOCS / "benchmarks.txt").read_text())

    def ratio(row, server):
        theirs, ours = (
            float(figures[row][name]["cpu us"].replace(",", "")) for name in (server, "aiodjango")
        )
        return theirs / ours

    assert 0.9 < ratio("plain GET", "Django on the loop") < 1.15
    for row in "template page of 10 kB", "page of five queries, PostgreSQL":
        assert 0.9 < ratio(row, "gunicorn gthread") < 1.1
    others = "gunicorn gthread", "granian", "uvicorn, Django's ASGI", "daphne, Django's ASGI"
    busy = "coroutine beside sync views that compute"
    for server in others:
        assert 8 < ratio("coroutine view", server) < 15
        assert float(figures[busy][server]["p50 ms"]) >= 80
    assert figures[busy]["aiodjango"]["p50 ms"] == "1.1"
    assert ratio("coroutine view", "bare aiohttp") > 1 / 1.2
    assert ratio("plain GET", "granian") < 1
