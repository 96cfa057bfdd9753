"""Which SQL statements may change the session of a database connection.

A session is what a connection keeps from one statement to the next: variables, search_path, the
role, temporary tables, locks, prepared statements. The rule only recognises statements that are
known to leave it as it is; all others count as changes.
"""

import re
from functools import lru_cache

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

# Words by which a statement may change a session, also within names. In quotes, or in the name of
# a column, count in vain.
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
# Looked for where one of its characters is found.
_SIGNS = re.compile(r"""(?<!@)@[\w"'`]|;\s*\S""")  # a user variable; a second statement
# As in SELECT … INTO, which makes a table, or sets a variable.
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
