"""The database connections of a thread that several pieces of work share.

Django checks a thread's connections when a request begins and when it ends there: it closes those
past CONN_MAX_AGE and those that broke, and makes CONN_HEALTH_CHECKS due. Here that is possible only
between pieces of work; while one is using a connection, it is closed only if it is broken.

A connection whose session was changed is never used by other work: `renew()` replaces it. Iterators
that read from it continue, and it is closed after the last of them.
"""

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .sessions import Session, is_in_memory, is_pooled

logger = logging.getLogger("aiodjango.database")


class Connections:
    """The connections of the thread that makes this, to be used in it.

    note_cursor: called with each cursor that is read in parts, as by `aiterator()`.
    is_read: returns whether such a cursor of a connection is still open.
    """

    def __init__(
        self, note_cursor: Callable[[Any], None], is_read: Callable[[BaseDatabaseWrapper], bool]
    ) -> None:
        self._note_cursor = note_cursor
        self._is_read = is_read
        self._sessions: list[Session] = []
        self._thread = threading.get_ident()
        # The close() of cursors that were closed where it would wait.
        self._unclosed: deque[Callable[[], None]] = deque()
        # Replaced connections, as their cursors know them, and the sessions to be closed.
        self._retired: dict[BaseDatabaseWrapper, Session] = {}
        for alias in connections:
            try:
                self._observe(alias)
            except Exception:
                # Code that uses it gets the error.
                logger.warning("Could not load the database %r", alias, exc_info=True)

    def _observe(self, alias: str) -> None:
        connection = connections[alias]
        self._sessions.append(Session(connection))
        # There is no other sign that a cursor stays open between two calls.
        make_cursor: Any = connection.chunked_cursor

        def chunked_cursor() -> Any:
            cursor = make_cursor()
            cursor.close = partial(self._close_cursor, connection, cursor.close)
            self._note_cursor(cursor)
            return cursor

        connection.chunked_cursor = chunked_cursor  # type: ignore[method-assign]

    def _close_cursor(self, connection: BaseDatabaseWrapper, close: Callable[[], None]) -> None:
        """Close a cursor, in any thread: the garbage collector closes iterators, too.

        An event loop would wait for another's query on this connection. The thread itself would
        wait forever when the collection runs inside such a query.
        """
        if threading.get_ident() == self._thread and not _is_in_query(connection):
            close()
        else:
            self._unclosed.append(close)

    def are_changed(self) -> bool:
        """Whether a session is not as it was after connecting."""
        # All are asked, because each notes the answer.
        is_changed = False
        for session in self._sessions:
            is_changed |= session.is_changed()
        return is_changed

    def in_transaction(self) -> bool:
        """Whether a transaction is open that did not end with the call that began it."""
        return any(session.in_transaction() for session in self._sessions)

    def are_broken(self) -> bool:
        """Whether a connection with a changed session cannot be used any more."""
        return any(
            session.was_changed and not session.connection.is_usable() for session in self._open()
        )

    def is_overdue(self) -> bool:
        """Whether a connection is past its age."""
        now = time.monotonic()
        return any(
            session.connection.close_at is not None and now >= session.connection.close_at
            for session in self._open()
        )

    def is_pooled(self) -> bool:
        """Whether a connection is borrowed from a pool, so that others may wait for it."""
        return any(is_pooled(session.connection) for session in self._open())

    def close_broken(self) -> None:
        """Close connections that cannot be used any more."""
        for session in self._open():
            connection = session.connection
            if session.was_changed or session.in_transaction():
                continue
            if not connection.errors_occurred and not _has_news(connection):
                connection.health_check_done = False  # type: ignore[attr-defined]
            elif connection.is_usable():
                connection.errors_occurred = False
                connection.health_check_done = True  # type: ignore[attr-defined]
            else:
                connection.close()

    def close_obsolete(self) -> None:
        """Do what Django does between two requests."""
        for session in self._open():
            connection = session.connection
            connection.queries_log.clear()
            if self._is_read(connection):
                continue
            if _has_news(connection):
                connection.errors_occurred = True  # so that it is checked whether it is usable
            connection.close_if_unusable_or_obsolete()

    def renew(self) -> list[Session]:
        """Replace the connections with an open transaction or a changed session.

        Returns those in an atomic block, closed: Django lets the block do nothing but end.
        """
        used = [
            session
            for session in self._sessions
            if session.in_transaction()
            or (session.was_changed and not is_in_memory(session.connection))
        ]
        for session in self._sessions:
            session.was_changed = False
        for session in used:
            # First, so that no error below lets others use it. A new one also has none of the
            # attributes that were set on it, and can be opened: Django would refuse to open this
            # one again before the atomic block is over.
            self._sessions.remove(session)
            del connections[session.connection.alias]
            self._observe(session.connection.alias)
        for session in used:
            is_read = self._is_read(session.connection)
            self._retired[session.connection] = session.rolled_back() if is_read else session
        blocks = [session for session in used if session.connection.in_atomic_block]
        for session in blocks:
            session.connection.inc_thread_sharing()
        self.close_unread()
        return blocks

    def call_with(self, blocks: Iterable[Session], function: Callable[[], Any]) -> Any:
        """Call a function that is in atomic blocks of closed connections, and has to see those."""
        closed = [session.connection for session in blocks]
        own = [connections[connection.alias] for connection in closed]
        _install(closed)
        try:
            return function()
        finally:
            _install(own)
            for session in blocks:
                if not session.connection.in_atomic_block:
                    session.discard()  # it may have been opened again

    def close_unread(self) -> None:
        """Close the cursors, and the replaced connections, that are not read any more."""
        while self._unclosed:
            with suppress(Exception):  # its connection may be broken
                self._unclosed.popleft()()
        if self._retired:
            for connection in [c for c in self._retired if not self._is_read(c)]:
                self._retired.pop(connection).discard()

    def close_all(self) -> None:
        """Close all connections of the thread."""
        for session in self._retired.values():
            session.discard()
        connections.close_all()

    def _open(self) -> Iterator[Session]:
        return (s for s in list(self._sessions) if s.connection.connection is not None)


def _is_in_query(connection: BaseDatabaseWrapper) -> bool:
    """Whether psycopg 3 has locked a connection; other drivers have no such lock."""
    lock = getattr(connection.connection, "lock", None)
    return lock is not None and lock.locked()


def _install(used: Iterable[BaseDatabaseWrapper]) -> None:
    for connection in used:
        connections[connection.alias] = connection


def _has_news(connection: BaseDatabaseWrapper) -> bool:
    """Whether the server has sent something unasked: as a rule, that it closes the connection.

    So a connection that was cut while idle is found at no cost, before a query fails.
    """
    try:
        descriptor = connection.connection.fileno()
    except AttributeError:
        return False  # there is no socket (SQLite), or no access to it
    except connection.Database.Error:  # type: ignore[attr-defined]
        return True  # it was closed
    return has_unread(descriptor)


def has_unread(descriptor: Any) -> bool:
    """Whether a socket has something to read, or was closed by the other side."""
    if not hasattr(select, "poll"):
        return False  # pragma: no cover - Windows
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
