"""Django's caches in coroutines, and in the threads that work for them.

Django makes a cache back end for each thread, and in coroutines for each request: each request that
uses Redis would open a connection and leave it to the garbage collector. Here `caches` returns one
object for the process instead. A back end that threads can share is used as it is. Any other has
attributes, and so connections, for each thread separately.
"""

import asyncio
import atexit
import functools
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from django.core.cache import caches, close_caches
from django.core.cache.backends.base import BaseCache
from django.core.signals import request_finished
from django.utils.module_loading import import_string

from .private import (
    prepare_django_redis,
    prepare_memcached,
    prepare_redis,
    works_for_event_loop,
)

_DJANGO = "django.core.cache.backends"
_REDIS = f"{_DJANGO}.redis.RedisCache"
_MEMCACHED = f"{_DJANGO}.memcached.PyMemcacheCache"
_DJANGO_REDIS = "django_redis.cache.RedisCache"
# How the client of a cache is made in advance: two threads that need it at once would make two.
_PREPARATIONS = {
    _REDIS: prepare_redis,
    _DJANGO_REDIS: prepare_django_redis,
    _MEMCACHED: prepare_memcached,
}
# Back ends that threads can share: no derived classes, which may add something.
_SHARED = frozenset(
    (
        *_PREPARATIONS,  # that of memcached with a pool
        f"{_DJANGO}.locmem.LocMemCache",
        f"{_DJANGO}.filebased.FileBasedCache",
        f"{_DJANGO}.db.DatabaseCache",
        f"{_DJANGO}.dummy.DummyCache",
    )
)
# Not with these options: a limit that suits the pool of one thread, as in Django, may be too low
# for all threads together; and classes of others may do anything.
_UNSHARED = frozenset(("max_connections", "max_pool_size", "pool_class", "CLIENT_CLASS"))


class _Known(NamedTuple):
    """A cache of the process.

    is_kept: whether its connections stay open after requests, where Django would close them.
    """

    config: dict[str, Any]
    cache: BaseCache
    is_kept: bool


_known: dict[str, _Known] = {}
# Reentrant, because a back end may use another one.
_lock = threading.RLock()


class _Thread(threading.local):
    """The caches that have attributes of their own in the current thread."""

    def __init__(self) -> None:
        self.caches: weakref.WeakSet[BaseCache] = weakref.WeakSet()


_thread = _Thread()


def share_caches() -> None:
    """Let `caches` return one object for the process from now on."""
    make = caches.create_connection

    def create_connection(alias: str) -> BaseCache:
        return make(alias) if _is_plain_thread() else _shared_cache(alias) or make(alias)

    caches.create_connection = create_connection  # type: ignore[method-assign]
    request_finished.disconnect(close_caches)
    request_finished.connect(_close_after_request)
    atexit.register(close_shared_caches)
    forget_caches()


def forget_caches() -> None:
    """Remove the caches of the current context, so that the tasks of an event loop do not use them.

    Code that runs at import has made them, for its own thread.
    """
    for cache in caches.all(initialized_only=True):
        cache.close()
    for alias in caches:
        with suppress(AttributeError):  # there was none
            del caches[alias]


def has_thread_caches() -> bool:
    """Whether close_thread_caches() has anything to close."""
    return bool(_thread.caches)


def close_thread_caches() -> None:
    """Close what caches have open for the current thread only; they can be used again."""
    for cache in list(_thread.caches):
        cache.close()


def close_shared_caches() -> None:
    """Close the caches of the process; the next use makes new ones."""
    with _lock:
        while _known:
            _known.popitem()[1].cache.close()


def leave_shared_caches() -> list[object]:
    """Forget, after a fork, what belongs to the parent process, and return it."""
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it
    left: list[object] = list(_known.values())
    _known.clear()
    return left


def _is_plain_thread() -> bool:
    """Whether the current thread has nothing to do with an event loop.

    Django gives it caches of its own. The main thread never counts as one.
    """
    if threading.current_thread() is threading.main_thread():
        return False
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return False
    return not works_for_event_loop()


def _shared_cache(alias: str) -> BaseCache | None:
    """The cache of the process; None where the setting does not name a class."""
    config = caches.settings[alias]
    with _lock:
        known = _known.get(alias)
        if known is None or known.config is not config:
            try:
                backend = import_string(config["BACKEND"])
            except (ImportError, KeyError):
                return None  # Django raises the error
            if not isinstance(backend, type):
                return None
            if known is not None:  # the setting was overridden
                _known.pop(alias).cache.close()
            known = _known[alias] = _make(backend, config)
    return known.cache


def _close_after_request(**kwargs: Any) -> None:
    """Close the caches of the current thread when Django has answered a request, as Django does.

    Connections to memcached stay open: other threads may be using those of a pool, and each request
    would open another one.
    """
    kept = [known.cache for known in list(_known.values()) if known.is_kept]
    for cache in caches.all(initialized_only=True):
        if not any(cache is other for other in kept):
            cache.close()


def _make(backend: Any, config: dict[str, Any]) -> _Known:
    location = config.get("LOCATION", "")
    params = {key: value for key, value in config.items() if key not in ("BACKEND", "LOCATION")}
    name = f"{backend.__module__}.{backend.__qualname__}"
    prepare = _PREPARATIONS.get(name)
    options = params.get("OPTIONS") or {}
    is_shared = _is_shared(name, location, options)
    if name == _MEMCACHED:
        # The client of one thread gets a pool of one connection: see prepare_memcached().
        params["OPTIONS"] = {**options, "use_pooling": True}
    if is_shared:
        cache = backend(location, params)
        if prepare is not None:
            prepare(cache)
    else:
        cache = _per_thread(backend, location, params, prepare)
    return _Known(config, cache, name == _MEMCACHED)


def _is_shared(name: str, location: Any, options: dict[str, Any]) -> bool:
    if name not in _SHARED or not _UNSHARED.isdisjoint(options):
        return False
    if name == _MEMCACHED:
        return bool(options.get("use_pooling"))
    if name == _REDIS:
        # A single server: with several, each pool is made when it is needed.
        return isinstance(location, str) and not any(
            part in location for part in (",", ";", "max_connections")
        )
    return True


def _per_thread(
    backend: Any, location: Any, params: dict[str, Any], prepare: Callable[[Any], object] | None
) -> BaseCache:
    """A cache with attributes, and so connections, of its own in each thread that uses it."""

    class PerThread(backend, threading.local):  # type: ignore[misc]
        def __init__(self) -> None:
            # `threading.local` calls this in each thread.
            super().__init__(location, params.copy())
            if prepare is not None:
                prepare(self)
            _thread.caches.add(self)

    for name in functools.WRAPPER_ASSIGNMENTS:
        setattr(PerThread, name, getattr(backend, name))
    cache: BaseCache = PerThread()
    return cache
