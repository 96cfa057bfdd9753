"""An aiohttp program that was there first, with the chat site mounted under /site/.

    python manage.py demo           # once, for the database
    python -m example.embedded      # http://127.0.0.1:8080/

Its own routes stay its own. Django learns that it lives under /site/: every link that `reverse()`
and `{% url %}` make begins with it, and so does the URL of every static file.
"""

import argparse
import datetime

from aiohttp import web

from example.wsgi import app as site

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>The program that was here first</title>
<h1>The program that was here first</h1>
<p>This page is plain aiohttp. So is <a href="/api/time">the time</a>.
<p>Django lives <a href="/site/">under /site/</a>.
"""


async def index(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def time(request: web.Request) -> web.Response:
    return web.json_response({"time": datetime.datetime.now(datetime.UTC).isoformat()})


def build() -> web.Application:
    main = web.Application()
    main.add_routes([web.get("/", index), web.get("/api/time", time)])
    main.add_subapp("/site/", site)
    return main


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An aiohttp program with a Django site in it.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    web.run_app(build(), host=options.host, port=options.port)
