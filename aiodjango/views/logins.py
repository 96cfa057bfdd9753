"""The logins of WebSockets under watch_user(), and whether they are still valid."""

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from aiohttp import WSCloseCode, web
from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone

logger = logging.getLogger("aiodjango")

# The close code of a WebSocket whose user's login has ended: private, similar to the status 401.
LOGIN_ENDED = 4401


class Identity:
    """The properties of a user on which the validity of a login depends."""

    def __init__(self, user: Any) -> None:
        self.is_active = user.is_active
        hash_of = getattr(user, "get_session_auth_hash", None)
        self.auth_hash = hash_of() if hash_of else None

    def changed_to(self, new: "Identity") -> str | None:
        """Return why a login is no longer valid, None if it still is."""
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
        # The users who have logged out while that of this login was not known.
        self.logged_out: set[Any] = set()
        # When the login was last known to be valid, by the clock of the loop.
        self.known_at = asyncio.get_running_loop().time()
        self._ws = weakref.ref(ws)
        self._closing: asyncio.Task[None] | None = None

    @property
    def session_hash(self) -> str:
        return hash_of_session(self.session_key)

    @property
    def is_over(self) -> bool:
        ws = self._ws()
        return ws is None or ws.closed

    def changed_to(self, identity: Identity) -> str | None:
        return None if self.identity is None else self.identity.changed_to(identity)

    def end(self, reason: str, code: int = LOGIN_ENDED) -> None:
        """Close the WebSocket. To be called on its own loop."""
        ws = self._ws()
        if ws is not None and not ws.closed:
            self._closing = asyncio.create_task(_close(ws, code, reason))

    def end_unknown(self) -> None:
        self.end("login unknown", WSCloseCode.TRY_AGAIN_LATER)


async def _close(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    try:
        await ws.close(code=code, message=reason.encode())
    except Exception:
        logger.exception("Could not close a WebSocket whose login has ended.")


def hash_of_session(session_key: str | None) -> str:
    """Return what other processes may know of a session: with its key they could log in."""
    return hashlib.sha256((session_key or "").encode()).hexdigest()


async def ended(watches: list[Watch]) -> list[tuple[Watch, str]]:
    """Return the watches whose logins are no longer valid in the database, with the reasons."""
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
    """Return those of the sessions that the server no longer has."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    keys = set(session_keys)
    if is_in_cookie(store):
        return set()  # only the browser knows
    if hasattr(store, "get_model_class"):
        kept = store.get_model_class().objects.filter(
            session_key__in=keys, expire_date__gt=timezone.now()
        )
        return keys - {key async for key in kept.values_list("session_key", flat=True)}
    return {key for key in keys if not await store(key).aexists(key)}


def is_in_cookie(store: Any) -> bool:
    from django.contrib.sessions.backends import signed_cookies

    return issubclass(store, signed_cookies.SessionStore)
