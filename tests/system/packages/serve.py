"""python -m tests.system.packages.serve FD NAME=VALUE…: the project, in the environment given.

By the wsgi.py of its chapter, where it has one.
"""

import importlib
import importlib.util
import os
import socket
import sys

import django
from aiohttp import web


def span_exporter():
    """OpenTelemetry's setup, which a command line does as a rule: spans go to the log."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    os.environ.update(argument.split("=", 1) for argument in sys.argv[2:])
    if os.environ["PACKAGE"] == "opentelemetry":
        span_exporter()
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    call_command("check", fail_level="WARNING")
    connections.close_all()
    if importlib.util.find_spec("wsgi"):
        app = importlib.import_module("wsgi").app
    else:
        from aiodjango import get_aio_application

        app = get_aio_application()
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), access_log=None)
