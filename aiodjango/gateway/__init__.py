"""A WSGI application behind aiohttp: `Gateway`. It needs no Django.

    gateway = Gateway(application, threads=8)
    app.router.add_route(
        "*", "/{path:.*}", gateway.handle, expect_handler=gateway.handle_expect
    )
    app.on_shutdown.append(gateway.shutdown)
    app.on_cleanup.append(lambda app: gateway.close())

A request body is received on the event loop, in memory or in a temporary file, before the
application runs in a worker thread, and a response is sent on the event loop again: a slow client
takes no thread. Files of `wsgi.file_wrapper` are sent by the kernel, streams run ahead of their
clients up to a limit, and requests that would wait too long get 503. See the options of `Gateway`;
its figures are `busy`, `pending`, `streams`, `shed` and `abandoned`.

The other names are for handlers that answer requests without a WSGI application, and that treat
connections and bodies as the gateway does.
"""

from .body import BODY_TIMEOUT, BodyWatch
from .buffer import StreamCut
from .connection import (
    Connection,
    attend,
    cut,
    end_when_received,
    has_more_requests,
    sending_ended,
    unanswered,
)
from .decoding import DecodedBody, bound_decoded
from .environ import (
    SchemeConflict,
    TrustedProxies,
    build_environ,
    default_proxies,
    http_schemes,
    scheme_of,
)
from .framing import close_if_last, discard_rest, handle_expect, is_last, refuse
from .handler import Gateway
from .head import Head, make_head
from .malformed import client_faults_filtered, ignore_unreadable_dates, reason_of
from .response import complete_response, file_response

__all__ = [
    "BODY_TIMEOUT",
    "BodyWatch",
    "Connection",
    "DecodedBody",
    "Gateway",
    "Head",
    "SchemeConflict",
    "StreamCut",
    "TrustedProxies",
    "attend",
    "bound_decoded",
    "build_environ",
    "client_faults_filtered",
    "close_if_last",
    "complete_response",
    "cut",
    "default_proxies",
    "discard_rest",
    "end_when_received",
    "file_response",
    "handle_expect",
    "has_more_requests",
    "http_schemes",
    "ignore_unreadable_dates",
    "is_last",
    "make_head",
    "reason_of",
    "refuse",
    "scheme_of",
    "sending_ended",
    "unanswered",
]
