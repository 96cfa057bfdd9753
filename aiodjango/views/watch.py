"""Open WebSockets are closed when the logins of their users end.

Django's signals report it in this process at once, and in other processes through a broadcast,
where the setting AIO_BROADCAST reaches them. A periodic check finds what sends no signal.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any

from aiohttp import web
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.db.transaction import TransactionManagementError

from aiodjango.broadcast import publish
from aiodjango.broadcast.process import reaches_others

from .logins import Identity, Watch, hash_of_session, is_in_cookie
from .request import django_request
from .watchlist import CHANNEL, WatchList

_starting: set[asyncio.Task[None]] = set()


def watch_user(request: web.Request, ws: web.WebSocketResponse) -> asyncio.Task[None]:
    """Close a WebSocket when its user logs out, changes password, is deactivated or deleted.

    To be called once the WebSocket is prepared. It is closed with the code 4401 and a message with
    the reason: at once if it happens in this process or in one that AIO_BROADCAST reaches, else
    within the setting AIO_WATCH_INTERVAL (30 seconds). A visitor who is not logged in is not
    watched. A WebSocket whose login cannot be checked for twice that time (20 seconds at least),
    because the database is not available, is closed with the code 1013.

    Returns a task that ends when the login is known to be valid, or when the WebSocket is closed.
    It need not be awaited, and raises nothing.
    Raises RuntimeError for a WebSocket that is not prepared, and ImproperlyConfigured for an
    invalid interval.
    """
    if not ws.prepared:
        raise RuntimeError("Call watch_user() after the prepare() of the WebSocket.")
    watchlist = WatchList.of_this_loop()
    # First of all, so that no logout from now on is missed.
    connect_signals()
    watch = Watch(django_request(request).session.session_key, ws)
    watchlist.add(watch)
    task = asyncio.create_task(watchlist.start(watch, request))
    _starting.add(task)  # asyncio itself keeps no reference
    task.add_done_callback(_starting.discard)
    return task


@cache
def connect_signals() -> None:
    """Have this process report the logins that end in it."""
    try:
        get_user_model()
    except ImproperlyConfigured:
        return  # a project without users
    user_logged_out.connect(_logged_out)
    # From any sender: a user may be saved through a proxy or a child of the user model.
    post_save.connect(_saved)
    post_delete.connect(_deleted)


def _logged_out(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if user is None or session is None:
        return
    # A session in a cookie has no permanent key: all sessions of the user are treated as this one.
    session_hash = None if is_in_cookie(type(session)) else hash_of_session(session.session_key)
    for watchlist in WatchList.of_all_loops():
        watchlist.log_out(user.pk, session_hash)
    _report({"user": user.pk, "session": session_hash})


def _saved(
    sender: Any, instance: Any, using: str, update_fields: Any = None, **kwargs: Any
) -> None:
    # Each login saves its time.
    if not isinstance(instance, get_user_model()) or update_fields == {"last_login"}:
        return
    # The user as it is now, but not before others can see it in the database.
    if any(_watches_of(instance)):
        end = partial(_end_changed, instance, Identity(instance))
        transaction.on_commit(end, using=using)
    _report_at_commit(instance.pk, using)


def _deleted(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    if isinstance(instance, get_user_model()):
        for watchlist, watch in _watches_of(instance):  # now: at the commit it has no key any more
            transaction.on_commit(partial(watchlist.end, watch, "deleted"), using=using)
        _report_at_commit(instance.pk, using)


def _end_changed(user: Any, identity: Identity) -> None:
    for watchlist, watch in _watches_of(user):
        reason = watch.changed_to(identity)
        if reason is not None:
            watchlist.end(watch, reason)


def _watches_of(user: Any) -> Iterator[tuple[WatchList, Watch]]:
    for watchlist in WatchList.of_all_loops():
        for watch in watchlist.of_user(user.pk):
            yield watchlist, watch


def _report_at_commit(pk: Any, using: str) -> None:
    """Have the other processes check the logins of a user."""
    if reaches_others():
        with suppress(TransactionManagementError):  # without autocommit the commit is not known
            transaction.on_commit(partial(_report, {"user": pk}), using=using, robust=True)


def _report(news: dict[str, Any]) -> None:
    if reaches_others():
        publish(CHANNEL, news, now=True)
