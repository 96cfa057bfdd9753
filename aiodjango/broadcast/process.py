"""The hubs of this process, one for each event loop, and sending through them."""

import asyncio
import atexit
import contextvars
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

from aiohttp import web
from django.core import mail
from django.core.signals import setting_changed

from .backend import Backend, Message, make_backend
from .hub import Hub

logger = logging.getLogger("aiodjango.broadcast")

# How long the end of a process, or of an application, may wait for a broker, in seconds.
FLUSH_TIMEOUT = 5.0


class _Sender:
    """A thread with an event loop and a hub, for a process without an application."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hub: Hub | None = None
        self._has_exit_hooks = False

    def post(self, message: Message) -> None:
        with self._lock:
            if self._hub is None:
                self._hub = self._start()
                self._add_exit_hooks()
            self._hub.send(message)

    def is_sending(self) -> bool:
        hub = self._hub
        return hub is not None and hub.is_sending()

    def _start(self) -> Hub:
        started: Future[Hub] = Future()
        threading.Thread(
            target=self._run, args=(started,), name="aiodjango-broadcast", daemon=True
        ).start()
        return started.result()

    def _run(self, started: "Future[Hub]") -> None:
        async def make_hub() -> Hub:
            # Not one of the hubs of the process: it has no subscribers.
            return Hub(make_backend())

        loop = asyncio.new_event_loop()
        try:
            started.set_result(loop.run_until_complete(make_hub()))
            loop.run_forever()
        except BaseException as error:
            started.set_exception(error)
        finally:
            loop.close()

    def _add_exit_hooks(self) -> None:
        """Close the sender at the end of child processes, which do not run atexit handlers."""
        if self._has_exit_hooks:
            return
        self._has_exit_hooks = True
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"].Finalize(None, close_sender, exitpriority=0)
        if "celery.signals" in sys.modules:  # its processes do not run these finalizers either
            signal = sys.modules["celery.signals"].worker_process_shutdown
            signal.connect(lambda **kwargs: close_sender(), weak=False)

    def close(self) -> int:
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


class _State:
    """The state of one process; a forked process starts with a new one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
        self.sender = _Sender()
        # For everything that needs no connection.
        self.backend: Backend | None = None
        self.has_warned = False


_state = _State()
# Kept after a fork: closing the parent's connections here would remove them from its event loop.
_inherited: list[_State] = []


def _reset_after_fork() -> None:
    global _state
    _inherited.append(_state)
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def shared_backend() -> Backend:
    """Return a back end for everything that needs no connection."""
    backend = _state.backend
    if backend is None:
        backend = _state.backend = make_backend()
    return backend


def reaches_others() -> bool:
    """Whether the back end delivers events to other processes."""
    return shared_backend().is_remote


def hub_of_this_loop() -> Hub:
    """Return the hub of the running event loop, made if necessary.

    Raises ImproperlyConfigured for an invalid AIO_BROADCAST, RuntimeError without a running loop.
    """
    loop = asyncio.get_running_loop()
    hub = _state.hubs.get(loop)
    if hub is None:
        hub = Hub(make_backend())
        with _state.lock:
            _state.hubs[loop] = hub
    return hub


def _all_hubs() -> list[Hub]:
    with _state.lock:
        for loop in [loop for loop in _state.hubs if loop.is_closed()]:
            del _state.hubs[loop]
        return list(_state.hubs.values())


# --- Sending -------------------------------------------------------------------------------


def send(message: Message) -> None:
    """Deliver a message in this process and send it to the others. For any thread."""
    hubs = _all_hubs()
    backend = shared_backend()
    if backend.is_remote:
        # A loop without an application may end at any moment, so it does not send.
        hub = next((hub for hub in hubs if hub.applications), None)
        if hub is None or not hub.send(message):
            _state.sender.post(message)
    elif not hubs:
        _warn_without_receivers()
    if not backend.is_echoing:
        deliver(message)


def is_sending() -> bool:
    """Whether messages of this process are still on their way to the broker. For any thread."""
    return _state.sender.is_sending() or any(hub.is_sending() for hub in _all_hubs())


def deliver(message: Message) -> None:
    """Deliver a message to the subscribers in this process alone. For any thread."""
    for hub in _all_hubs():
        hub.call(hub.deliver, message)


async def asend(message: Message) -> None:
    """Send a message from a coroutine; wait while too many messages wait for a slow broker."""
    hub = _state.hubs.get(asyncio.get_running_loop())
    if hub is None:
        send(message)
        return
    await hub.has_room()
    send(message)
    # Now: other coroutines that wait for room must see that it is taken.
    contextvars.Context().run(hub.perform)


def _warn_without_receivers() -> None:
    # Django's test runner and pytest-django set it; in most tests there is no page.
    if not _state.has_warned and not hasattr(mail, "outbox"):
        _state.has_warned = True
        logger.warning(
            "An event was published in a process without open connections, and the memory back end "
            "does not reach other processes: the event is lost. Choose another back end in "
            "AIO_BROADCAST."
        )


# --- The end -------------------------------------------------------------------------------


async def running(app: web.Application) -> AsyncIterator[None]:
    """Keep the hub of this loop while an application runs. An entry of its cleanup_ctx."""
    hub = hub_of_this_loop()
    hub.applications.add(app)
    hub.open_applications.add(app)
    yield
    hub.open_applications.discard(app)
    hub.applications.discard(app)
    if not hub.applications:
        await close_hub()


async def shutdown(app: web.Application) -> None:
    """End the subscriptions when the last application of this loop shuts down.

    An on_shutdown handler. The WebSockets and event streams of other applications are closed by
    those.
    """
    hub = hub_of_this_loop()
    hub.open_applications.discard(app)
    if not hub.open_applications:
        hub.end_subscriptions()


async def close_hub() -> int:
    """Close the hub of this loop. Returns the number of messages that were not sent."""
    hub = hub_of_this_loop()
    _forget(hub)
    return await hub.close(FLUSH_TIMEOUT)


@atexit.register
def close_sender() -> int:
    """Close the thread that sends in a process without an application, if there is one.

    Returns the number of messages that were not sent.
    """
    return _state.sender.close()


def _forget(hub: Hub) -> None:
    with _state.lock:
        if _state.hubs.get(hub.loop) is hub:
            del _state.hubs[hub.loop]


def _setting_changed(setting: str, **kwargs: Any) -> None:
    """Drop everything that uses the old settings; tests override them."""
    if setting in ("AIO_BROADCAST", "CHANNEL_LAYERS", "DATABASES"):
        close_sender()
        _state.backend = None
        _state.has_warned = False
        for hub in _all_hubs():
            _forget(hub)
            hub.call(hub.retire)


setting_changed.connect(_setting_changed)
