"""System checks of the setting AIO_BROADCAST."""

import os
from collections.abc import Iterator

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Advice
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from aiodjango.conf import broadcast_setting

from .backend import make_backend

EXTRAS = {"redis": "redis", "psycopg": "postgres", "channels": "channels"}


def check_broadcast() -> Iterator[CheckMessage]:
    """Check that the back end is valid, and that it reaches all processes."""
    try:
        backend = make_backend()
    except ImproperlyConfigured as error:
        yield Error(str(error), hint=_hint(error), id="aiodjango.E006")
        return
    path = broadcast_setting()["BACKEND"]
    if path.endswith(".PostgresBackend") and backend.location != DEFAULT_DB_ALIAS:
        yield Advice(
            f"AIO_BROADCAST uses the database {backend.location!r}: events that are published in a "
            f"transaction on {DEFAULT_DB_ALIAS!r} are not part of that transaction.",
            hint=f"Omit LOCATION if the objects of the events are in {DEFAULT_DB_ALIAS!r}.",
            id="aiodjango.W005",
        )
    if not backend.is_remote and (workers := _number_of_workers()) > 1:
        yield Advice(
            f"AIO_BROADCAST uses the memory back end, and WEB_CONCURRENCY sets {workers} workers: "
            "an event reaches only the connections of the worker in which it is published.",
            hint="Set AIO_BROADCAST to the back end for Redis or PostgreSQL.",
            id="aiodjango.W006",
        )


def _hint(error: ImproperlyConfigured) -> str | None:
    missing = getattr(error.__cause__, "name", None) or ""
    extra = EXTRAS.get(missing.partition(".")[0])
    return f"Install it: pip install 'aiodjango[{extra}]'" if extra else None


def _number_of_workers() -> int:
    value = os.environ.get("WEB_CONCURRENCY", "")
    return int(value) if value.isdecimal() else 1
