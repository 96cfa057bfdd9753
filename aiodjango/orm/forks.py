"""Connections that a process has open when it is forked, as `gunicorn --preload` does.

Two processes that use one connection read each other's answers, so the child leaves those that it
finds to its parent, and opens its own. They must not be closed in the child: a driver would end
the session of the parent.
"""

import functools
import os
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .caches import leave_shared_caches
from .private import pools_of_django

# What can't be made harmless is kept, because some drivers close a connection that is collected.
_kept: list[Any] = []


@functools.cache
def prepare_for_forks() -> None:
    """Have each process that is forked from this one leave its connections alone, from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_connections)


def _leave_connections() -> None:
    if not settings.configured:
        return
    # Only the thread that forked goes on in the child: its connections alone can be met there.
    for connection in connections.all(initialized_only=True):
        if not _is_in_memory(connection):
            _leave(connection)
            del connections[connection.alias]
    for pools in pools_of_django():
        _kept.extend(pools.values())
        pools.clear()
    _kept.extend(leave_shared_caches())
    _kept.extend(caches.all(initialized_only=True))
    for alias in caches:
        with suppress(AttributeError):  # there was none
            del caches[alias]


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether a database is in the memory of the process, so that the child has its own copy."""
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]


def _leave(connection: BaseDatabaseWrapper) -> None:
    driver = connection.connection
    is_pooled = bool((connection.settings_dict.get("OPTIONS") or {}).get("pool"))
    if driver is None:
        return
    if is_pooled or not hasattr(driver, "fileno"):
        _kept.append(driver)
        return
    # Whatever it says at its end now is lost.
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(null, driver.fileno())
    finally:
        os.close(null)
    driver.close()
