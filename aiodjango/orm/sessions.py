"""The sessions of database connections, and what changes them.

A session is what a connection keeps from one statement to the next: variables, search_path, the
role, temporary tables, locks, prepared statements. A change is recognised in three ways:

- Statements pass Django's `execute_wrappers`. `may_change_session()` knows those that leave the
  session as it is; all others count as changes.
- `callproc()`, and methods of the driver such as psycopg's `copy()`, bypass these wrappers. Classes
  of cursors notice them. What bypasses Django's cursors too, by `connection.connection`, is noticed
  with psycopg 3 only, which has a cursor factory.
- Connections of back ends that are derived from Django's may get attributes, such as a tenant.
"""

import logging
import re
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("aiodjango.database")

# Attributes of a driver's cursor that execute nothing.
_PASSIVE = {"arraysize", "close", "closed", "description", "fetchall", "fetchmany", "fetchone"}
_PASSIVE |= {"itersize", "lastrowid", "mogrify", "name", "nextset", "rowcount", "rownumber"}
_PASSIVE |= {"scroll", "setinputsizes", "setoutputsize", "statusmessage"}
_IDLE, _UNKNOWN = 0, 4  # a transaction's status, as libpq and both versions of psycopg number it
# The attribute of Django's connections that holds the session.
_SESSION = "_aiodjango_session"
_MISSING = object()


class Session:
    """The session of a connection, observed from now on."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.was_changed = False
        # Without autocommit, by the settings, a transaction is open from the first query on.
        self._is_manual = not connection.settings_dict["AUTOCOMMIT"]
        setattr(connection, _SESSION, self)
        self._connect, self._close = connection.connect, connection.close
        connection.connect = self.connect  # type: ignore[method-assign]
        connection.close = self.close  # type: ignore[method-assign]
        connection.execute_wrappers.append(self._examine)
        for name in ("make_cursor", "make_debug_cursor"):
            setattr(connection, name, _observed_maker(getattr(connection, name)))
        # Django's back end that this one is, or is derived from.
        self._base: Any = next(
            base for base in type(connection).__mro__ if base.__module__.startswith("django.")
        )
        # BaseDatabaseWrapper is abstract: it does not show which attributes are a back end's own.
        self._is_derived = self._base not in (type(connection), BaseDatabaseWrapper)
        if self._is_derived:
            plain = self._base(connection.settings_dict, connection.alias)
            self._of_django = vars(plain).keys()
            self._first = self._attributes()

    def connect(self) -> None:
        """Connect, which begins a new session.

        What Django and the receivers of connection_created do to it is no change.
        """
        before = self._attributes() if self._is_derived else {}
        self._connect()
        if self._is_derived:
            self._first.update(_difference(before, self._attributes()))
        raw = self.connection.connection
        factory = getattr(raw, "cursor_factory", None)
        # It may have one already, from a pool.
        if hasattr(raw, "pgconn") and not hasattr(factory, "is_observed"):
            raw.cursor_factory = _observed_raw(factory)
            raw.server_cursor_factory = _observed_raw(raw.server_cursor_factory)
        self.was_changed = False

    def close(self) -> None:
        """Close the connection. A changed session does not go back to a pool."""
        raw = self.connection.connection
        if self.was_changed and raw is not None and getattr(self.connection, "pool", None):
            raw.close()
        self._close()

    def discard(self) -> None:
        """Close the connection for good."""
        self.was_changed = True
        try:
            self.close()
        except Exception:
            name = self.connection.alias
            logger.warning("Could not close a connection to %r", name, exc_info=True)

    def rolled_back(self) -> "Session":
        """Roll back, and return the session that closes the driver's connection later.

        In an atomic block it is a new session, and Django's connection is closed for the block.
        """
        old = self.connection
        with suppress(Exception):  # it may be broken
            old.connection.rollback()
        if not old.in_atomic_block:
            return self
        new = connections.create_connection(old.alias)
        new.connection, old.connection = old.connection, None
        old.closed_in_transaction = old.needs_rollback = True
        old.run_on_commit = []
        return Session(new)

    def is_changed(self) -> bool:
        """Whether it is not as it was after connecting."""
        if (self._is_manual and self._has_open_transaction()) or (
            self._is_derived and _difference(self._first, self._attributes())
        ):
            self.was_changed = True
        return self.was_changed

    def in_transaction(self) -> bool:
        """Whether a transaction is open, but one of no autocommit by the settings."""
        connection = self.connection
        return connection.connection is not None and (
            connection.in_atomic_block
            or connection.autocommit is self._is_manual
            or (connection.autocommit and self._has_open_transaction())
        )

    def _has_open_transaction(self) -> bool:
        """Whether the driver knows that a transaction is open, as after a BEGIN by cursor."""
        raw: Any = self.connection.connection
        if (pgconn := getattr(raw, "pgconn", None)) is not None:
            return bool(_IDLE < pgconn.transaction_status < _UNKNOWN)
        if (status := getattr(raw, "get_transaction_status", None)) is not None:  # psycopg2
            return bool(_IDLE < status() < _UNKNOWN)
        try:
            return bool(getattr(raw, "in_transaction", False))  # SQLite
        except Exception:
            return False  # it was closed, but not by Django

    def _examine(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if may_change_session(sql, self.connection.vendor):
            self.was_changed = True
        return execute(sql, params, many, context)

    def _attributes(self) -> dict[str, Any]:
        """The attributes of the connection that are not Django's own."""
        return {
            name: value
            for name, value in vars(self.connection).items()
            # Names that the class has too are overridden methods and cached properties.
            if name not in self._of_django and not hasattr(self._base, name) and name != _SESSION
        }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if before.get(name, _MISSING) is not value}


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection holds the only copy of its database, so that Django never closes it."""
    is_in_memory_db = getattr(connection, "is_in_memory_db", None)
    return is_in_memory_db is not None and bool(is_in_memory_db())


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is borrowed from a pool."""
    return bool((connection.settings_dict.get("OPTIONS") or {}).get("pool"))


# --- Cursors -----------------------------------------------------------------------------------


def _observed_maker(make: Any) -> Any:
    def make_cursor(raw: Any) -> Any:
        cursor = make(raw)
        base: Any = type(cursor)
        cursor.__class__ = _observed(base)
        return cursor

    return make_cursor


@cache
def _observed(base: Any) -> Any:
    """A class of Django's cursors that notes the use of the driver's methods."""
    get_attribute = base.__getattr__

    class ObservedCursor(base):  # type: ignore[misc]
        def callproc(self, *args: Any, **kwargs: Any) -> Any:
            getattr(self.db, _SESSION).was_changed = True
            return super().callproc(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            if name not in _PASSIVE:
                getattr(self.db, _SESSION).was_changed = True
            return get_attribute(self, name)

    return ObservedCursor


@cache
def _observed_raw(base: Any) -> Any:
    """A class of psycopg's cursors that notes statements executed without Django."""

    class ObservedRawCursor(base):  # type: ignore[misc]
        is_observed = True

        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().execute(query, *args, **kwargs)

        def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().executemany(query, *args, **kwargs)

        def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().stream(query, *args, **kwargs)

        def copy(self, *args: Any, **kwargs: Any) -> Any:
            self._examine(None)
            return super().copy(*args, **kwargs)

        def _examine(self, query: Any) -> None:
            if may_change_session(query, "postgresql"):
                # A connection of a pool changes threads, so the class cannot know the session.
                for connection in connections.all(initialized_only=True):
                    session = getattr(connection, _SESSION, None)
                    if session is not None and connection.connection is self.connection:
                        session.was_changed = True

    return ObservedRawCursor


# --- Statements --------------------------------------------------------------------------------

# Longer ones are examined each time.
MAX_REMEMBERED_LENGTH = 4096
_REMEMBERED = 1024  # statements

_PLAIN = r"SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|SAVEPOINT|RELEASE|ROLLBACK\s+TO"
# Where the driver tells whether a transaction is open, its beginning needs no rule.
_TRANSACTION = r"BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK"
# In MySQL, SET LOCAL is a synonym of SET SESSION.
_LOCAL = r"SET\s+LOCAL|SET\s+CONSTRAINTS"
_BEGINNINGS = {
    "postgresql": f"{_PLAIN}|{_TRANSACTION}|{_LOCAL}",
    "sqlite": f"{_PLAIN}|{_TRANSACTION}",
}

# Words by which a statement may change a session, also within names. They count in quotes and in
# names of columns too, where they change nothing.
_WORDS = (
    "set_config",
    "pg_settings",  # a view: its UPDATE is a SET
    "advisory_",
    "get_lock",
    "release_lock",
    "release_all_locks",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "last_insert_id",
    "found_rows",
    "setseed",
    "set_limit",  # of pg_trgm
    "dblink",
    "replication_origin",
    "load_extension",
    "fts3_tokenizer",
    "dbms_",
    "u&",  # begins a name with escaped characters
    ":=",  # an assignment
    "/*!",  # a comment that MySQL executes
    "/*m!",  # … and MariaDB
)
# A setting of the transaction alone. Anything but plain values in it counts.
_LOCAL_SETTING = re.compile(
    r"""(?<![\w.$"])set_config\((?:\s*(?:'[^'\\]*'|%s)\s*,){2}\s*true\s*\)"""
)
# Searched only where one of its characters is found.
_SIGNS = re.compile(r"""(?<!@)@[\w"'`]|;\s*\S""")  # a user variable; a second statement
# SELECT … INTO makes a table, or sets a variable.
_INTO = re.compile(r"\binto\b")
_INSERT = re.compile(r"\s*insert\b")


def may_change_session(sql: object, vendor: str) -> bool:
    """Whether a statement may leave the session different from before.

    vendor: of the database, as Django's connections name it.
    """
    if not isinstance(sql, str):
        return True
    if len(sql) > MAX_REMEMBERED_LENGTH:
        return _may_change_session(sql, vendor)
    return _remembered(sql, vendor)


def _may_change_session(sql: str, vendor: str) -> bool:
    if not _beginning(vendor).match(sql):
        return True
    # Substrings are found much faster than by one expression.
    text = sql.lower().replace("advisory_xact_", "")  # these locks end with their transaction
    if "set_config" in text:
        text = _LOCAL_SETTING.sub("", text)
    return (
        any(word in text for word in _WORDS)
        or (("@" in text or ";" in text) and _SIGNS.search(text) is not None)
        or ("into" in text and not _INSERT.match(text) and _INTO.search(text) is not None)
    )


_remembered = lru_cache(_REMEMBERED)(_may_change_session)


@lru_cache
def _beginning(vendor: str) -> re.Pattern[str]:
    return re.compile(rf"[\s(]*(?:{_BEGINNINGS.get(vendor, _PLAIN)})\b", re.IGNORECASE)
