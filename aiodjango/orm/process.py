"""What is prepared once in a process: caches that threads share, and connections after a fork.

Two processes that use the same connection, as after `gunicorn --preload`, read each other's
responses. So the child leaves the connections of its parent alone, and opens its own. It must not
close them: the driver would end the session of the parent.
"""

import functools
import os
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .caches import leave_shared_caches, share_caches
from .private import pools_of_django
from .sessions import is_in_memory, is_pooled

# Connections that must not be collected, because their driver would close them.
_kept: list[Any] = []


@functools.cache
def prepare_process() -> None:
    """Let threads share caches, and forked processes not use the connections of this one."""
    share_caches()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_connections)


def _leave_connections() -> None:
    if not settings.configured:
        return
    # The child has only the thread that forked, and only its connections.
    for connection in connections.all(initialized_only=True):
        if not is_in_memory(connection):  # the child has a copy of that
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


def _leave(connection: BaseDatabaseWrapper) -> None:
    driver = connection.connection
    if driver is None:
        return
    if is_pooled(connection) or not hasattr(driver, "fileno"):
        _kept.append(driver)
        return
    # So what it sends at its end is lost.
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(null, driver.fileno())
    finally:
        os.close(null)
    driver.close()
