"""A WSGI application that answers with its environ: `tests.gateway.environ_dump:application`."""

import json


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    seen = {key: value for key, value in environ.items() if isinstance(value, str | bool | tuple)}
    seen["body"] = body.decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
