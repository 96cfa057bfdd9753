"""The hubs of this process, one for each event loop, and what is sent through them."""

import asyncio
import atexit
import contextvars
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web
from django.core.signals import setting_changed

from .backend import Backend, Message, make_backend
from .hub import Hub

if TYPE_CHECKING:
    from .publishing import AfterCommit

logger = logging.getLogger("aiodjango.broadcast")

# Seconds that the end of a process, or of an application, may wait for a broker.
FLUSH_TIMEOUT = 5.0


class Capture(Protocol):
    """What is given to a test in place of being sent."""

    def record(self, message: Message) -> None: ...

    def wait_for(self, step: "AfterCommit") -> None: ...


_lock = threading.Lock()
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
# What needs no connection is asked of this one.
_backend: Backend | None = None
_has_warned = False
_closes_in_child = False
# Those of `aiodjango.test.capture_broadcasts()`: they are given what is not sent then.
captures: "list[Capture]" = []
# What belongs to the process that this one was forked from.
_left: list[object] = []


def hub_of_this_loop() -> Hub:
    """Return the hub of the running event loop, made if necessary.

    Raises ImproperlyConfigured for an invalid AIO_BROADCAST, RuntimeError without a running loop.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        made = Hub(make_backend())
        with _lock:
            hub = _hubs.setdefault(loop, made)
    return hub


def forget_hub(hub: Hub) -> None:
    with _lock:
        if _hubs.get(hub.loop) is hub:
            del _hubs[hub.loop]


def reaches_others() -> bool:
    """Whether the back end reaches other processes at all."""
    return _shared_backend().is_remote


def check_message(message: Message) -> None:
    """Raise ValueError for a message that the back end cannot carry."""
    _shared_backend().check_message(message)


def send_in_transaction(message: Message, aliases: Collection[str]) -> bool:
    """Send to other processes by Django's own connection, where the back end can do so."""
    return not captures and _shared_backend().send_in_transaction(message, aliases)


def send(message: Message) -> None:
    """Deliver a message in this process and send it to the others; in any thread."""
    if captures:
        for capture in captures:
            capture.record(message)
        return
    hubs = _all_hubs()
    backend = _shared_backend()
    if backend.is_remote:
        _post(message, hubs)
    elif not hubs:
        _warn_unheard()
    if not backend.is_echoing:
        deliver(message)


def note_waiting(step: "AfterCommit") -> None:
    """Note what waits for a commit, which the transaction of a test never has."""
    for capture in captures:
        capture.wait_for(step)


def _post(message: Message, hubs: list[Hub]) -> None:
    # A loop without an application may end at any moment: it sends nothing.
    hub = next((hub for hub in hubs if hub.applications), None)
    if hub is None or not hub.call(hub.post, message):
        _sender.post(message)


def deliver(message: Message) -> None:
    """Deliver a message to the subscribers of this process alone; in any thread."""
    for hub in _all_hubs():
        hub.call(hub.deliver, message)


async def asend(message: Message) -> None:
    """Send a message in a coroutine; wait while too many wait for a broker that is slow."""
    hub = _hubs.get(asyncio.get_running_loop())
    if hub is not None and not captures:
        await hub.has_room()
    send(message)
    if hub is not None:
        # At once: others that wait for room have to see that it is taken.
        contextvars.Context().run(hub.perform)


def _all_hubs() -> list[Hub]:
    with _lock:
        for loop in [loop for loop in _hubs if loop.is_closed()]:
            del _hubs[loop]
        return list(_hubs.values())


def _shared_backend() -> Backend:
    global _backend
    backend = _backend
    if backend is None:
        backend = _backend = make_backend()
    return backend


def _warn_unheard() -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        logger.warning(
            "An event was published in a process without open connections, and the memory back end "
            "reaches no other process: nobody receives it. Choose another back end in "
            "AIO_BROADCAST."
        )


class _Sender:
    """A thread with an event loop and a hub, for processes without an application."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hub: Hub | None = None

    def post(self, message: Message) -> None:
        with self._lock:
            if self._hub is None:
                self._hub = self._start()
                _close_at_exit_of_children()
            self._hub.call(self._hub.post, message)

    def _start(self) -> Hub:
        started: Future[Hub] = Future()
        threading.Thread(
            target=self._run, args=(started,), name="aiodjango-broadcast", daemon=True
        ).start()
        return started.result()

    def _run(self, started: "Future[Hub]") -> None:
        loop = asyncio.new_event_loop()
        try:
            started.set_result(loop.run_until_complete(self._make_hub()))
            loop.run_forever()
        except BaseException as error:
            started.set_exception(error)
        finally:
            loop.close()

    async def _make_hub(self) -> Hub:
        # Not among the hubs of the process: it has no subscribers.
        return Hub(make_backend())

    def close(self) -> int:
        """Send what waits, at the end of the process. Returns how many messages were not sent."""
        with self._lock:
            hub, self._hub = self._hub, None
        if hub is None:
            return 0
        closing = asyncio.run_coroutine_threadsafe(hub.close(FLUSH_TIMEOUT), hub.loop)
        try:
            return closing.result(2 * FLUSH_TIMEOUT)
        except TimeoutError:
            logger.error("The broker did not answer: events may be lost.")
            return 1
        finally:
            hub.loop.call_soon_threadsafe(hub.loop.stop)


_sender = _Sender()


def close_sender() -> int:
    """End the thread that sends events in a process without an application, if there is one.

    Returns how many messages were not sent.
    """
    return _sender.close()


def _close_at_exit_of_children() -> None:
    """Have the sender closed in child processes, which end without atexit."""
    global _closes_in_child
    if _closes_in_child:
        return
    _closes_in_child = True
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"].Finalize(None, close_sender, exitpriority=0)
    if "celery.signals" in sys.modules:  # its own multiprocessing ends without finalizers, too
        signal = sys.modules["celery.signals"].worker_process_shutdown
        signal.connect(lambda **kwargs: close_sender(), weak=False)


atexit.register(close_sender)


async def running(app: web.Application) -> AsyncIterator[None]:
    """Keep the hub of this loop while an application runs, as an entry of its cleanup_ctx."""
    hub = hub_of_this_loop()
    hub.applications += 1
    hub.open_applications.add(app)
    yield
    hub.open_applications.discard(app)
    hub.applications -= 1
    if not hub.applications:
        await close_hub()


async def close_hub() -> int:
    """Close the hub of this loop; returns how many messages could not be sent."""
    hub = hub_of_this_loop()
    forget_hub(hub)
    return await hub.close(FLUSH_TIMEOUT)


async def shutdown(app: web.Application) -> None:
    """End the subscriptions when the last application of this loop begins to shut down.

    As an on_shutdown handler. The WebSockets and event streams of the others close by themselves.
    """
    hub = hub_of_this_loop()
    hub.open_applications.discard(app)
    if not hub.open_applications:
        hub.end_subscriptions()


def _begin_anew() -> None:
    """Forget, after a fork, the loops and connections that stayed in the parent."""
    global _lock, _hubs, _backend, _sender, _has_warned, _closes_in_child
    # Kept: closing a connection here would take it from the event loop of the parent.
    _left.append((_hubs, _backend, _sender))
    _lock = threading.Lock()
    _hubs = {}
    _backend = None
    _has_warned = _closes_in_child = False
    _sender = _Sender()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _setting_changed(setting: str, **kwargs: Any) -> None:
    """Tests override settings: what was made by the old one is left."""
    global _backend, _has_warned
    if setting in ("AIO_BROADCAST", "CHANNEL_LAYERS", "DATABASES"):
        close_sender()
        _backend = None
        _has_warned = False
        for hub in _all_hubs():
            forget_hub(hub)
            hub.call(hub.retire)


setting_changed.connect(_setting_changed)
