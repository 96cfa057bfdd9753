"""The WebSockets of an event loop whose logins are watched."""

import asyncio
import contextvars
import threading
import weakref
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import web
from django.contrib.auth import get_user_model

from aiodjango.broadcast import subscribe
from aiodjango.broadcast.process import reaches_others
from aiodjango.conf import watch_interval
from aiodjango.orm import django_context
from aiodjango.runtime.exits import is_cancellation

from . import logins
from .auth import aget_session, aget_user
from .logins import Identity, Watch, logger

# The channel of the reports between processes, of events that may have ended logins.
CHANNEL = "aiodjango.views.logins"

# How many WebSockets one query of the periodic check covers.
BATCH = 500
# When a check that has failed is repeated, as a part of the interval.
RETRY = 1 / 8
# A check may take as long as the interval, and a login may be unknown for twice as long before its
# WebSocket is closed. This is used instead of a shorter interval, in seconds.
SHORTEST_LIMIT = 10.0


class WatchList:
    """The watches of one event loop."""

    _by_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, WatchList]" = (
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
        self._subscription: asyncio.Task[None] | None = None
        # Users whose logins may have ended in other processes.
        self._suspects: set[Any] = set()
        self._checking_suspects: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> "WatchList":
        loop = asyncio.get_running_loop()
        with cls._lock:
            watches = cls._by_loop.get(loop)
            if watches is None:
                watches = cls._by_loop[loop] = cls(loop)
        return watches

    @classmethod
    def of_all_loops(cls) -> "list[WatchList]":
        with cls._lock:
            return list(cls._by_loop.values())

    # ---- On the loop ----

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._of_user[watch.user_pk].append(watch)
        if self._timer is None:
            self._set_timer(self._interval)
        if reaches_others() and (self._subscription is None or self._subscription.done()):
            self._subscription = self._run(self._listen())

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
                    self._report_failure([watch], error)
                is_first = False
                await asyncio.sleep(self._interval * RETRY)
        except BaseException:
            watch.end_unknown()  # nothing watches it from now on
            raise

    async def _decide(self, watch: Watch, request: web.Request, *, is_first: bool) -> None:
        user = await aget_user(request)
        if not user.is_authenticated:
            with self._lock:
                self._remove(watch)
            if not is_first:
                watch.end_unknown()  # the login may have ended since the first attempt
            return
        session = await aget_session(request)
        if not self._identify(watch, user, session.session_key):
            watch.end("logged out")
            return
        # The user may have been loaded long ago: this finds what has happened since. From now on
        # signals report what happens.
        await _check_logins([watch])

    def _identify(self, watch: Watch, user: Any, session_key: str | None) -> bool:
        """Set the user of a watch. Returns whether that user has not logged out meanwhile."""
        identity = Identity(user)
        with self._lock:
            self._remove(watch)
            watch.session_key = session_key
            watch.user_pk, watch.identity = user.pk, identity
            self._of_user[user.pk].append(watch)
            return user.pk not in watch.logged_out

    def _remove(self, watch: Watch) -> None:
        watches = self._of_user.get(watch.user_pk, [])
        if watch in watches:  # a check removes one that is over
            watches.remove(watch)

    def _set_timer(self, delay: float) -> None:
        # In a new context: the timer would keep that of a request alive.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._start_check, context=contextvars.Context())

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, context=contextvars.Context())

    def _start_check(self) -> None:
        self._timer = None
        self._checking = self._run(self._check())

    async def _check(self) -> None:
        """Find logins that have ended without a signal."""
        succeeded = await self._check_all(self._open_watches())
        if self._open_watches() and self._timer is None:
            self._set_timer(self._interval if succeeded else self._interval * RETRY)

    async def _check_all(self, watches: list[Watch]) -> bool:
        watches = [watch for watch in watches if watch.identity is not None]
        succeeded = True
        for start in range(0, len(watches), BATCH):
            batch = watches[start : start + BATCH]
            try:
                async with asyncio.timeout(self._limit), django_context():
                    await _check_logins(batch)
            except BaseException as error:  # the database may not be available
                if is_cancellation(error):
                    raise
                self._report_failure(batch, error)
                succeeded = False
        return succeeded

    def _report_failure(self, watches: list[Watch], error: BaseException) -> None:
        """Log a failed check, and close the WebSockets whose logins are unknown for too long."""
        earliest = asyncio.get_running_loop().time() - 2 * self._limit
        ended = [watch for watch in watches if watch.known_at <= earliest]
        for watch in ended:
            watch.end_unknown()
        logger.error("Could not check the logins of open WebSockets.", exc_info=error)
        if ended:
            logger.warning("Closing %d WebSockets with unknown logins.", len(ended))

    def _open_watches(self) -> list[Watch]:
        """Remove the watches that are over, and return the others."""
        found = []
        with self._lock:
            for pk, watches in list(self._of_user.items()):
                watches[:] = [watch for watch in watches if not watch.is_over]
                if watches:
                    found += watches
                else:
                    del self._of_user[pk]
        return found

    # ---- What happens in other processes ----

    async def _listen(self) -> None:
        """Receive the reports of other processes as long as this loop has a broadcast."""
        while True:
            async with subscribe(CHANNEL) as events:
                if self._timer is not None:  # a check now, for what happened before
                    self._timer.cancel()
                    self._start_check()
                async for news in events:
                    self._receive(news)
            if events.missed is None:
                return

    def _receive(self, news: Any) -> None:
        try:
            pk = get_user_model()._meta.pk.to_python(news["user"])
            if "session" in news:
                self.log_out(pk, news["session"])
                return
        except Exception:
            logger.exception("Another process sent an invalid report of a login.")
            return
        self._suspects.add(pk)
        if self._checking_suspects is None or self._checking_suspects.done():
            self._checking_suspects = self._run(self._check_suspects())

    async def _check_suspects(self) -> None:
        while self._suspects:
            watches = [watch for pk in self._suspects for watch in self.of_user(pk)]
            self._suspects.clear()
            await self._check_all(watches)

    # ---- In any thread ----

    def of_user(self, pk: Any) -> list[Watch]:
        with self._lock:
            return list(self._of_user.get(pk, ()))

    def log_out(self, user_pk: Any, session_hash: str | None) -> None:
        """End the watches of a session of a user, or of all sessions of that user."""
        with self._lock:
            known = list(self._of_user.get(user_pk, ()))
            unknown = list(self._of_user.get(None, ()))
            for watch in unknown if session_hash is None else ():
                watch.logged_out.add(user_pk)
        for watch in known:
            if session_hash in (None, watch.session_hash):
                self.end(watch, "logged out")
        for watch in unknown:
            if watch.session_hash == session_hash:
                self.end(watch, "logged out")

    def end(self, watch: Watch, reason: str) -> None:
        loop = self._loop()
        if loop is not None:  # pragma: no branch - a race
            with suppress(RuntimeError):  # closed meanwhile, with its WebSockets
                loop.call_soon_threadsafe(watch.end, reason)


async def _check_logins(watches: list[Watch]) -> None:
    """End the watches whose logins are no longer valid."""
    now = asyncio.get_running_loop().time()
    for watch, reason in await logins.ended(watches):
        watch.end(reason)
    for watch in watches:
        watch.known_at = now
