"""The database connections of a thread that several pieces of work share.

Django looks after a thread's connections when a request begins and ends there: it closes those past
CONN_MAX_AGE and those that broke, and has CONN_HEALTH_CHECKS done. That may be done in full only
between pieces of work; while one is under way, a connection is closed only if it's broken anyway.

A connection whose session was changed is never used by other work: `renew()` replaces it.
"""

import logging
import select
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .attributes import Attributes
from .cursors import has_open_transaction, watch_cursors

logger = logging.getLogger("aiodjango.database")


class Connections:
    """The connections of the thread that makes this, to be used in it.

    note_cursor: called with each cursor that is read in parts, as by `aiterator()`.
    """

    def __init__(self, note_cursor: Callable[[Any], None]) -> None:
        self._note_cursor = note_cursor
        self._known: list[BaseDatabaseWrapper] = []
        # Whose session is not as it was after connecting.
        self._changed: set[BaseDatabaseWrapper] = set()
        self._retired: list[BaseDatabaseWrapper] = []  # to be closed
        self._manual: list[BaseDatabaseWrapper] = []  # without autocommit by the settings
        self._foreign: dict[BaseDatabaseWrapper, Attributes] = {}  # of backends not Django's own
        for alias in connections:
            try:
                self._adopt(alias)
            except Exception:
                # Who uses it will see the error.
                logger.warning("The database %r can't be looked after", alias, exc_info=True)

    def _adopt(self, alias: str) -> None:
        connection = connections[alias]
        self._known.append(connection)
        if not connection.settings_dict["AUTOCOMMIT"]:
            self._manual.append(connection)
        # There's no other sign that a cursor stays open between two calls.
        chunked_cursor = connection.chunked_cursor
        connect, close = connection.connect, connection.close
        attributes = Attributes(connection)
        if attributes.is_foreign:
            self._foreign[connection] = attributes

        def noted_chunked_cursor() -> Any:
            cursor = chunked_cursor()
            self._note_cursor(cursor)
            return cursor

        def noted_connect() -> None:
            attributes.accept_changes_of(connect)
            # What Django and the receivers of connection_created did belongs to each session.
            self._changed.discard(connection)

        def noted_close() -> None:
            if connection in self._changed:
                _close_pooled(connection)
            close()

        connection.chunked_cursor = noted_chunked_cursor  # type: ignore[method-assign]
        connection.connect = noted_connect  # type: ignore[method-assign]
        connection.close = noted_close  # type: ignore[method-assign]
        watch_cursors(connection, self._changed.add)

    def are_changed(self) -> bool:
        """Whether a session is not as it was after connecting."""
        if self._manual:
            # Without autocommit a transaction is open from the first query on.
            self._changed.update(
                c for c in self._open(self._manual) if has_open_transaction(c.connection)
            )
        for connection, attributes in self._foreign.items():
            if attributes.are_changed():
                self._changed.add(connection)
        return bool(self._changed)

    def are_broken(self) -> bool:
        """Whether a connection with a changed session can't be used any more."""
        return any(not connection.is_usable() for connection in self._open(self._changed))

    def in_transaction(self) -> bool:
        """Whether a transaction is open that did not end with the call that began it."""
        # A plain loop: this is asked after every call.
        for connection in self._known:
            if connection.connection is not None and _in_transaction(connection):
                return True
        return False

    def is_overdue(self) -> bool:
        """Whether a connection should have been closed, had there been an occasion."""
        now = time.monotonic()
        return any(
            connection.close_at is not None and now >= connection.close_at
            for connection in self._open()
        )

    def is_pooled(self) -> bool:
        """Whether a connection is borrowed from a pool, so that others may wait for it."""
        return any(
            (connection.settings_dict.get("OPTIONS") or {}).get("pool")
            for connection in self._open()
        )

    def close_broken(self) -> None:
        """What can be done while other work is under way: it loses nothing that isn't lost."""
        for connection in self._open():
            if connection in self._changed or _in_transaction(connection):
                continue
            if not connection.errors_occurred and not _has_news(connection):
                connection.health_check_done = False  # type: ignore[attr-defined]
            elif connection.is_usable():
                connection.errors_occurred = False
                connection.health_check_done = True  # type: ignore[attr-defined]
            else:
                connection.close()

    def close_obsolete(self) -> None:
        """What Django does between two requests."""
        for connection in self._open():
            connection.queries_log.clear()
            if _has_news(connection):
                connection.errors_occurred = True  # so it is looked whether it's usable
            connection.close_if_unusable_or_obsolete()

    def renew(self, *, is_read: bool) -> list[BaseDatabaseWrapper]:
        """Replace the connections with an open transaction or a changed session.

        is_read: whether other work may read from them; then they are closed by `close_retired()`.

        Returns those in an atomic block, closed: Django lets the block do nothing but end.
        """
        used = [
            connection
            for connection in self._known
            if _in_transaction(connection)
            or (connection in self._changed and not _is_in_memory(connection))
        ]
        self._changed.clear()
        self._manual = [connection for connection in self._manual if connection not in used]
        for connection in used:
            # First of all, so that no error below makes others use it. A new one also has none of
            # the attributes that were set on it, and may be opened where Django would refuse to:
            # to it, the atomic block goes on.
            self._known.remove(connection)
            self._foreign.pop(connection, None)
            del connections[connection.alias]
            self._adopt(connection.alias)
        blocks = [connection for connection in used if connection.in_atomic_block]
        for connection in blocks:
            connection.inc_thread_sharing()
            _discard(connection)
        self._retired += [connection for connection in used if connection not in blocks]
        if not is_read:
            self.close_retired()
        return blocks

    def call_with(self, blocks: Iterable[BaseDatabaseWrapper], function: Callable[[], Any]) -> Any:
        """Call a function that still sees closed connections whose atomic blocks it is in."""
        own = {block.alias: connections[block.alias] for block in blocks}
        for block in blocks:
            connections[block.alias] = block
        try:
            return function()
        finally:
            for block in blocks:
                connections[block.alias] = own[block.alias]
                if not block.in_atomic_block:
                    _discard(block)  # it may have been opened again

    def close_retired(self) -> None:
        """Close the connections that nothing reads from any more."""
        while self._retired:
            _discard(self._retired.pop())

    def close_all(self) -> None:
        self.close_retired()
        connections.close_all()

    def _open(
        self, among: Collection[BaseDatabaseWrapper] | None = None
    ) -> Iterator[BaseDatabaseWrapper]:
        among = self._known if among is None else among
        return (connection for connection in list(among) if connection.connection is not None)


def _discard(connection: BaseDatabaseWrapper) -> None:
    """Close a connection for good."""
    try:
        _close_pooled(connection)
        connection.close()
    except Exception:
        logger.warning("Could not close a connection to %r", connection.alias, exc_info=True)


def _close_pooled(connection: BaseDatabaseWrapper) -> None:
    """Let a pool not hand out the session as it is."""
    if connection.connection is not None and getattr(connection, "pool", None):
        connection.connection.close()


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    return (
        connection.in_atomic_block
        or connection.autocommit is not connection.settings_dict["AUTOCOMMIT"]
        or (connection.autocommit and has_open_transaction(connection.connection))
    )


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether it has the only copy of its database, so that Django does not close it."""
    is_in_memory_db = getattr(connection, "is_in_memory_db", None)
    return is_in_memory_db is not None and bool(is_in_memory_db())


def _has_news(connection: BaseDatabaseWrapper) -> bool:
    """Whether the server has sent what nobody asked for: as a rule, that it hangs up.

    So a connection that was cut while at rest is found at no cost, before a query fails on it.
    """
    try:
        descriptor = connection.connection.fileno()
    except AttributeError:
        return False  # there's no socket (SQLite), or no access to it
    except connection.Database.Error:  # type: ignore[attr-defined]
        return True  # it has been closed
    return has_unread(descriptor)


def has_unread(descriptor: Any) -> bool:
    """Whether something can be read from a socket, which may be its end."""
    if not hasattr(select, "poll"):
        return False  # pragma: no cover - Windows
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
