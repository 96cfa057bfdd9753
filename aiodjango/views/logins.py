"""Whether logins still hold: users and sessions, looked up in the database."""

import hashlib
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone

if TYPE_CHECKING:
    from .watches import Watch


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


def hash_of_session(session_key: str | None) -> str:
    """Return what other processes may be told of a session: its key alone would be a login."""
    return hashlib.sha256((session_key or "").encode()).hexdigest()


async def ended(watches: "list[Watch]") -> "list[tuple[Watch, str]]":
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
    if is_in_cookie(store):
        return set()  # only the browser knows
    if hasattr(store, "get_model_class"):
        kept = store.get_model_class().objects.filter(
            session_key__in=keys, expire_date__gt=timezone.now()
        )
        return keys - {key async for key in kept.values_list("session_key", flat=True)}
    return {key for key in keys if not await store(key).aexists(key)}


def _session_store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


def is_in_cookie(store: Any) -> bool:
    from django.contrib.sessions.backends import signed_cookies

    return issubclass(store, signed_cookies.SessionStore)
