"""A WSGI application that tells what the requests before it have left in its thread."""

import contextvars
import decimal
import json
import threading

from asgiref.local import Local
from asgiref.sync import async_to_sync

local, critical = Local(), Local(thread_critical=True)
by_thread = threading.local()
variable = contextvars.ContextVar("variable", default="unset")
decimal.Decimal(1) / 3  # so that the main thread has a context of this kind, as most sites do


def look():
    return {
        "local": getattr(local, "value", None),
        "critical": getattr(critical, "value", None),
        "threading.local": getattr(by_thread, "value", None),
        "variable": variable.get(),
        "precision": decimal.getcontext().prec,
    }


async def set_by_coroutine(path):
    local.value = f"coroutine of {path}"


def application(environ, start_response):
    seen = [look()]
    path = environ["PATH_INFO"]
    if path.startswith("/set"):
        local.value = critical.value = by_thread.value = path
        variable.set(path)
        decimal.getcontext().prec = 7
    elif path.startswith("/coroutine"):
        async_to_sync(set_by_coroutine)(path)
    elif path.startswith("/delete"):
        del local.value
    start_response("200 OK", [("Content-Type", "application/json")])

    def body():
        yield b"["
        if path.startswith("/stream"):
            local.value = f"generator of {path}"
        seen.append(look())
        yield json.dumps(seen).encode()[1:]

    return body()
