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

from aiohttp import WSCloseCode, web
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from .auth import aget_session, aget_user
from .database import django_context
from .exits import is_cancellation
from .request import django_request

logger = logging.getLogger("aiodjango")

# The close code of a WebSocket whose user's login has ended: private, and reminding of 401.
LOGIN_ENDED = 4401

# How many WebSockets one query of the periodic check is about.
BATCH = 500
# How soon a check that has failed is repeated, as a part of the interval.
RETRY = 1 / 8
# A check may take as long as the interval, and a login may be unknown for twice as long before its
# WebSocket is closed. This counts instead of a shorter interval, in seconds.
SHORTEST_LIMIT = 10.0

_starting: set[asyncio.Task[None]] = set()


def watch_user(request: web.Request, ws: web.WebSocketResponse) -> asyncio.Task[None]:
    """Close a WebSocket when its user logs out, changes password, is deactivated or deleted.

    To be called once the WebSocket is prepared. It is closed with the code 4401 and a message that
    says why: at once if it happens in this process, else within the setting AIO_WATCH_INTERVAL (30
    seconds). The visitor who isn't logged in isn't watched. A WebSocket whose login cannot be
    checked for twice that time (20 seconds at least), because the database is away, is closed with
    the code 1013.

    Returns a task that ends when the login is known to hold, or when the WebSocket is closed. It
    need not be awaited, and raises nothing.
    Raises RuntimeError for a WebSocket that isn't prepared, and ImproperlyConfigured for an
    interval that can't be.
    """
    if not ws.prepared:
        raise RuntimeError("watch_user() has to come after the WebSocket's prepare().")
    watches = Watches.of_this_loop()
    # First of all, so that no logout from now on is missed.
    _connect_signals()
    watch = Watch(django_request(request).session.session_key, ws)
    watches.add(watch)
    task = asyncio.create_task(watches.start(watch, request))
    _starting.add(task)  # asyncio itself keeps no reference
    task.add_done_callback(_starting.discard)
    return task


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

    # Both None until the user has been loaded.
    user_pk: Any = None
    identity: Identity | None = None

    def __init__(self, session_key: str | None, ws: web.WebSocketResponse) -> None:
        self.session_key = session_key
        # Who has logged out while the user was not known.
        self.logged_out: set[Any] = set()
        # When the login was last known to hold, on the clock of the loop.
        self.known_at = asyncio.get_running_loop().time()
        self._ws = weakref.ref(ws)
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        ws = self._ws()
        return ws is None or ws.closed

    def changed_to(self, identity: Identity) -> str | None:
        return None if self.identity is None else self.identity.changed_to(identity)

    def end(self, reason: str, code: int = LOGIN_ENDED) -> None:
        """Close the WebSocket; on its own loop."""
        ws = self._ws()
        if ws is not None and not ws.closed:
            self._closing = asyncio.create_task(_close(ws, code, reason))

    def end_unknown(self) -> None:
        self.end("login unknown", WSCloseCode.TRY_AGAIN_LATER)


async def _close(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    try:
        await ws.close(code=code, message=reason.encode())
    except Exception:
        logger.exception("A WebSocket whose login has ended could not be closed properly.")


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
        self._limit = max(self._interval, SHORTEST_LIMIT)
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
            self._set_timer(self._interval)

    async def start(self, watch: Watch, request: web.Request) -> None:
        """Load the user of a watch, and check the login, until that has succeeded once."""
        is_first = True
        try:
            while not watch.is_over:
                try:
                    async with asyncio.timeout(self._limit):
                        await self._decide(watch, request, is_first=is_first)
                    return
                except BaseException as error:
                    if is_cancellation(error):
                        raise
                    self._note_failure([watch], error)
                is_first = False
                await asyncio.sleep(self._interval * RETRY)
        except BaseException:
            watch.end_unknown()  # nothing goes on to watch it
            raise

    async def _decide(self, watch: Watch, request: web.Request, *, is_first: bool) -> None:
        user = await aget_user(request)
        if not user.is_authenticated:
            self._forget(watch)
            if not is_first:
                watch.end_unknown()  # the login may have ended since the first attempt
            return
        session = await aget_session(request)
        if not self._identify(watch, user, session.session_key):
            watch.end("logged out")
            return
        # The user may have been loaded long ago: what has happened since is found here, and what
        # happens from now on is told by signals.
        await _check_logins([watch])

    def _identify(self, watch: Watch, user: Any, session_key: str | None) -> bool:
        """Set the user of a watch. Returns False if that user has logged out meanwhile."""
        identity = Identity(user)
        with self._lock:
            self._remove(watch)
            watch.session_key = session_key
            watch.user_pk, watch.identity = user.pk, identity
            self._of_user[user.pk].append(watch)
            return user.pk not in watch.logged_out

    def _forget(self, watch: Watch) -> None:
        with self._lock:
            self._remove(watch)

    def _remove(self, watch: Watch) -> None:
        watches = self._of_user.get(watch.user_pk, [])
        if watch in watches:  # unless it was over, and a check has found that
            watches.remove(watch)

    def _set_timer(self, delay: float) -> None:
        # In a context of its own: that of a request would live on with the timer.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._start_check, context=contextvars.Context())

    def _start_check(self) -> None:
        self._timer = None
        self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        """Look for logins that have ended unnoticed."""
        watches = [watch for watch in self._open_watches() if watch.identity is not None]
        delay = self._interval
        for start in range(0, len(watches), BATCH):
            batch = watches[start : start + BATCH]
            try:
                async with asyncio.timeout(self._limit), django_context():
                    await _check_logins(batch)
            except BaseException as error:  # the database may be away
                if is_cancellation(error):
                    raise
                self._note_failure(batch, error)
                delay = self._interval * RETRY
        if self._open_watches() and self._timer is None:
            self._set_timer(delay)

    def _note_failure(self, watches: list[Watch], error: BaseException) -> None:
        """Close those whose logins have been unknown for too long."""
        earliest = asyncio.get_running_loop().time() - 2 * self._limit
        ended = [watch for watch in watches if watch.known_at <= earliest]
        for watch in ended:
            watch.end_unknown()
        logger.error("The logins of open WebSockets could not be checked.", exc_info=error)
        if ended:
            logger.warning("%d WebSockets with unknown logins are closed.", len(ended))

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

    def log_out(self, user_pk: Any, session_key: str | None, *, is_any: bool) -> None:
        """End the watches of a session, or those of all sessions of a user."""
        with self._lock:
            known = list(self._of_user.get(user_pk, ()))
            unknown = list(self._of_user.get(None, ()))
            for watch in unknown if is_any else ():
                watch.logged_out.add(user_pk)
        for watch in known:
            if is_any or watch.session_key == session_key:
                self.end(watch, "logged out")
        for watch in unknown:
            if watch.session_key == session_key:
                self.end(watch, "logged out")

    def end(self, watch: Watch, reason: str) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():  # pragma: no branch - a race
            try:
                loop.call_soon_threadsafe(watch.end, reason)
            except RuntimeError:  # pragma: no cover - a race
                pass  # closed just now, and its WebSockets with it


# ---- What ends a login ----


async def _check_logins(watches: list[Watch]) -> None:
    """End the watches whose logins do not hold any more."""
    now = asyncio.get_running_loop().time()
    for watch, reason in await _ended(watches):
        watch.end(reason)
    for watch in watches:
        watch.known_at = now


async def _ended(watches: list[Watch]) -> list[tuple[Watch, str]]:
    """The watches whose logins do not hold any more, with the reasons."""
    pks = {watch.user_pk for watch in watches}
    users = get_user_model()._default_manager.filter(pk__in=pks)
    identities = {user.pk: Identity(user) async for user in users}
    lost = await _lost_sessions(watch.session_key for watch in watches if watch.session_key)
    ended = []
    for watch in watches:
        identity = identities.get(watch.user_pk)
        reason = "deleted" if identity is None else watch.changed_to(identity)
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
    for watches in Watches.of_all_loops():
        watches.log_out(user.pk, session.session_key, is_any=is_any)


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
        reason = watch.changed_to(identity)
        if reason is not None:
            watches.end(watch, reason)


def _watches_of(user: Any) -> Iterator[tuple[Watches, Watch]]:
    for watches in Watches.of_all_loops():
        for watch in watches.of_user(user.pk):
            yield watches, watch
