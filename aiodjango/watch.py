"""Live identity: open WebSockets end when their users' logins do.

In this process Django's signals tell of it at once. What happens in other processes, and what sends
no signal, is found by a periodic check.
"""

import asyncio
import contextvars
import logging
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any

from aiohttp import web
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from .auth import aget_session, aget_user
from .database import django_context

logger = logging.getLogger("aiodjango")

# The close code of a WebSocket whose user's login has ended: private, and reminding of 401.
LOGIN_ENDED = 4401

# How many WebSockets one query of the periodic check is about.
BATCH = 500

_starting: set[asyncio.Task[None]] = set()


def watch_user(request: web.Request, ws: web.WebSocketResponse) -> asyncio.Task[None]:
    """Close a WebSocket when its user logs out, changes password, is deactivated or deleted.

    To be called once the WebSocket is prepared. It is closed with the code 4401 and a message that
    says why: at once if it happens in this process, else within the setting AIO_WATCH_INTERVAL (30
    seconds). The visitor who isn't logged in isn't watched.

    Returns a task that ends when the watch stands. It need not be awaited.
    Raises RuntimeError for a WebSocket that isn't prepared, and ImproperlyConfigured for an
    interval that can't be.
    """
    if not ws.prepared:
        raise RuntimeError("watch_user() has to come after the WebSocket's prepare().")
    watches = Watches.of_this_loop()
    task = asyncio.create_task(_start(watches, request, ws))
    _starting.add(task)  # asyncio itself keeps no reference
    task.add_done_callback(_starting.discard)
    return task


async def _start(watches: "Watches", request: web.Request, ws: web.WebSocketResponse) -> None:
    user = await aget_user(request)
    if user.is_authenticated:
        session = await aget_session(request)
        _connect_signals()
        watches.add(Watch(user, session.session_key, ws))


def watch_interval() -> float:
    """Return the setting AIO_WATCH_INTERVAL, in seconds."""
    interval = getattr(settings, "AIO_WATCH_INTERVAL", 30.0)
    if isinstance(interval, bool) or not isinstance(interval, int | float) or interval <= 0:
        raise ImproperlyConfigured(
            f"AIO_WATCH_INTERVAL must be a number of seconds greater than 0, not {interval!r}: how "
            "often the logins of the WebSockets under watch_user() are checked."
        )
    return interval


class Identity:
    """What of a user decides whether a login still holds."""

    def __init__(self, user: Any) -> None:
        self.is_active = user.is_active
        hash_of = getattr(user, "get_session_auth_hash", None)
        self.auth_hash = hash_of() if hash_of else None

    def changed_to(self, new: "Identity") -> str | None:
        """Say why a login does not hold any more, None if it does."""
        if self.is_active and not new.is_active:
            return "deactivated"
        return "password changed" if new.auth_hash != self.auth_hash else None


class Watch:
    """One WebSocket and the login that it was opened with."""

    def __init__(self, user: Any, session_key: str | None, ws: web.WebSocketResponse) -> None:
        self.user_pk = user.pk
        self.session_key = session_key
        self.identity = Identity(user)
        self._ws = weakref.ref(ws)
        self._closing: asyncio.Task[bool] | None = None

    @property
    def is_over(self) -> bool:
        ws = self._ws()
        return ws is None or ws.closed

    def end(self, reason: str) -> None:
        """Close the WebSocket; on its own loop."""
        ws = self._ws()
        if ws is not None and not ws.closed:
            self._closing = asyncio.create_task(ws.close(code=LOGIN_ENDED, message=reason.encode()))


class Watches:
    """The watches of one event loop."""

    _by_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watches]" = (
        weakref.WeakKeyDictionary()
    )
    # Signals arrive in other threads.
    _lock = threading.Lock()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._interval = watch_interval()
        self._of_user: dict[Any, list[Watch]] = defaultdict(list)
        self._checking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of_this_loop(cls) -> "Watches":
        loop = asyncio.get_running_loop()
        with cls._lock:
            watches = cls._by_loop.get(loop)
            if watches is None:
                watches = cls._by_loop[loop] = cls(loop)
        return watches

    @classmethod
    def of_all_loops(cls) -> "list[Watches]":
        with cls._lock:
            return list(cls._by_loop.values())

    # ---- On the loop ----

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._of_user[watch.user_pk].append(watch)
        if self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        # In a context of its own: that of a request would live on with the timer.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            self._interval, self._start_check, context=contextvars.Context()
        )

    def _start_check(self) -> None:
        self._timer = None
        self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        """Look for logins that have ended unnoticed."""
        try:
            watches = self._open_watches()
            async with django_context():
                for start in range(0, len(watches), BATCH):
                    batch = watches[start : start + BATCH]
                    for watch, reason in await _ended(batch):
                        watch.end(reason)
        except Exception:  # the database may be away: the next check comes
            logger.exception("The logins of open WebSockets could not be checked.")
        if self._open_watches() and self._timer is None:
            self._set_timer()

    def _open_watches(self) -> list[Watch]:
        """Forget the watches that are over, and return the others."""
        found = []
        with self._lock:
            for pk, watches in list(self._of_user.items()):
                watches[:] = [watch for watch in watches if not watch.is_over]
                if watches:
                    found += watches
                else:
                    del self._of_user[pk]
        return found

    # ---- In any thread ----

    def of_user(self, pk: Any) -> list[Watch]:
        with self._lock:
            return list(self._of_user.get(pk, ()))

    def end(self, watch: Watch, reason: str) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():  # pragma: no branch - a race
            try:
                loop.call_soon_threadsafe(watch.end, reason)
            except RuntimeError:  # pragma: no cover - a race
                pass  # closed just now, and its WebSockets with it


# ---- What ends a login ----


async def _ended(watches: list[Watch]) -> list[tuple[Watch, str]]:
    """The watches whose logins do not hold any more, with the reasons."""
    pks = {watch.user_pk for watch in watches}
    users = get_user_model()._default_manager.filter(pk__in=pks)
    identities = {user.pk: Identity(user) async for user in users}
    lost = await _lost_sessions(watch.session_key for watch in watches if watch.session_key)
    ended = []
    for watch in watches:
        identity = identities.get(watch.user_pk)
        reason = "deleted" if identity is None else watch.identity.changed_to(identity)
        if reason is None and watch.session_key in lost:
            reason = "logged out"
        if reason is not None:
            ended.append((watch, reason))
    return ended


async def _lost_sessions(session_keys: Iterable[str]) -> set[str]:
    """Those of the sessions that the server does not have any more."""
    store = _session_store()
    keys = set(session_keys)
    if _is_in_cookie(store):
        return set()  # only the browser knows
    if hasattr(store, "get_model_class"):
        kept = store.get_model_class().objects.filter(
            session_key__in=keys, expire_date__gt=timezone.now()
        )
        return keys - {key async for key in kept.values_list("session_key", flat=True)}
    return {key for key in keys if not await store(key).aexists(key)}


def _session_store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


def _is_in_cookie(store: Any) -> bool:
    from django.contrib.sessions.backends import signed_cookies

    return issubclass(store, signed_cookies.SessionStore)


@cache
def _connect_signals() -> None:
    user_logged_out.connect(_logged_out)
    # From any sender: a user may be saved through a proxy or a child of the user model.
    post_save.connect(_saved)
    post_delete.connect(_deleted)


def _logged_out(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if user is None or session is None:
        return
    # A session in a cookie has no lasting key: all of the user's are taken for this one.
    is_any = _is_in_cookie(type(session))
    for watches, watch in _watches_of(user):
        if is_any or watch.session_key == session.session_key:
            watches.end(watch, "logged out")


def _saved(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    if isinstance(instance, get_user_model()) and any(_watches_of(instance)):
        # As it is now, but not before everybody else sees it too.
        end = partial(_end_changed, instance, Identity(instance))
        transaction.on_commit(end, using=using)


def _deleted(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    if isinstance(instance, get_user_model()):
        for watches, watch in _watches_of(instance):  # found now: then it has no key any more
            transaction.on_commit(partial(watches.end, watch, "deleted"), using=using)


def _end_changed(user: Any, identity: Identity) -> None:
    for watches, watch in _watches_of(user):
        reason = watch.identity.changed_to(identity)
        if reason is not None:
            watches.end(watch, reason)


def _watches_of(user: Any) -> Iterator[tuple[Watches, Watch]]:
    for watches in Watches.of_all_loops():
        for watch in watches.of_user(user.pk):
            yield watches, watch
