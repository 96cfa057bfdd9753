"""Which statements count as changes of the session, by their text."""

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from aiodjango.orm import sessions
from aiodjango.orm.sessions import may_change_session

VENDORS = ["postgresql", "sqlite", "mysql", "oracle", "other"]
PLAIN = [
    "SELECT 1",
    "select * from book where title = %s;",
    "\n  (SELECT 1) UNION (SELECT 2)",
    "WITH t AS (SELECT 1) SELECT * FROM t",
    "INSERT INTO book (title) VALUES (%s)",
    "INSERT INTO a SELECT * FROM b",
    "UPDATE book SET title = %s",
    "DELETE FROM book",
    "VALUES (1)",
    'SAVEPOINT "s1"',
    "RELEASE SAVEPOINT s1",
    "ROLLBACK TO SAVEPOINT s1",
    "SELECT * FROM book WHERE tags @> %s AND text @@ (plainto_tsquery(%s))",
    "SELECT @@version",
    "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)",
    "SELECT set_config('a', 'b', true), Set_Config( %s, %s , TRUE )",
    "SELECT pg_notify('channel', 'payload')",
]
CHANGES = [
    "",
    ";",
    "SET search_path = own",
    "RESET ALL",
    "DISCARD ALL",
    "SELECTED",
    "/* one */ SELECT 1",
    "-- one\nSELECT 1",
    "EXPLAIN SELECT 1",
    "SHOW search_path",
    "CREATE TABLE a (b int)",
    "LISTEN a",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "DECLARE a CURSOR WITH HOLD FOR SELECT 1",
    "LOAD 'library'",
    "DO $$ BEGIN END $$",
    "CALL a()",
    "COPY a TO STDOUT",
    "LOCK TABLES a READ",
    "USE other",
    "ATTACH 'file' AS other",
    "PRAGMA foreign_keys = OFF",
    "ALTER SESSION SET NLS_TERRITORY = 'AMERICA'",
    "SELECT 1; SET a = 1",
    "SELECT 1;-- \nSET a = 1",
    "SELECT 1 INTO TEMPORARY a",
    "WITH t AS (SELECT 1) SELECT * INTO a FROM t",
    "SELECT 1\tinto\na",
    "SELECT set_config('a', 'b', false)",
    "SELECT Set_Config/**/('a', 'b', false)",
    'SELECT pg_catalog."set_config"(%s, %s, false)',
    "SELECT U&\"set\\005fconfig\"('a', 'b', false)",
    "SELECT set_config('a', 'b', true), set_config('a', 'b', false)",
    "SELECT set_config('a', 'b', true = false)",
    "SELECT set_config('a', 'b', %s)",
    "SELECT set_config('a', lower('b'), true)",
    "SELECT set_config('a', 'b'', true)', false)",
    "SELECT set_config('a\\', 'b', true)', false)",
    "SELECT own_set_config('a', 'b', true)",
    "UPDATE pg_settings SET setting = 1",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock(1), pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT GET_LOCK('a', 1)",
    "SELECT release_lock('a')",
    "SELECT @a := 1",
    "SELECT @a",
    "SELECT @'a'",
    "SELECT 1 /*! , @@sql_mode */",
    "SELECT /*M! 1 */",
    "SELECT nextval('a')",
    "SELECT LAST_INSERT_ID(7)",
    "SELECT setseed(0.5)",
    "SELECT set_limit(0.5)",
    "SELECT dblink_connect('a', '')",
    "SELECT load_extension('a')",
]


@pytest.mark.parametrize("vendor", VENDORS)
def test_plain_statements(vendor):
    assert [sql for sql in PLAIN if may_change_session(sql, vendor)] == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_others(vendor):
    assert [sql for sql in CHANGES if not may_change_session(sql, vendor)] == []


def test_what_is_no_string_counts():
    assert may_change_session(b"SELECT 1", "postgresql")
    assert may_change_session(None, "postgresql")


def test_what_depends_on_the_database():
    changes = {
        sql: [vendor for vendor in VENDORS if may_change_session(sql, vendor)]
        for sql in ("SET LOCAL a = 1", "SET CONSTRAINTS ALL DEFERRED", "BEGIN", "COMMIT")
    }
    assert changes["SET LOCAL a = 1"] == ["sqlite", "mysql", "oracle", "other"]
    assert changes["SET CONSTRAINTS ALL DEFERRED"] == ["sqlite", "mysql", "oracle", "other"]
    # Drivers of these two tell whether a transaction is open.
    assert changes["BEGIN"] == changes["COMMIT"] == ["mysql", "oracle", "other"]


def test_queries_of_the_orm_are_plain(db):
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        user = User.objects.create(username="a")
        User.objects.bulk_create([User(username="b"), User(username="c")])
        user.save()
        User.objects.update(first_name=F("last_name"))
        list(User.objects.filter(groups__name="d").order_by("pk")[:3])
        list(User.objects.prefetch_related("groups"))
        User.objects.in_bulk([1, 2])
        User.objects.filter(pk=user.pk).exists()
    queries = [query["sql"] for query in captured]
    assert len(queries) > 8
    assert [sql for sql in queries if may_change_session(sql, connection.vendor)] == []


def test_only_so_much_is_remembered():
    for n in range(2000):
        may_change_session(f"SELECT {n}", "sqlite")
    before = sessions._remembered.cache_info()
    assert before.currsize == before.maxsize
    assert not may_change_session("SELECT " + "1," * sessions.MAX_REMEMBERED_LENGTH, "sqlite")
    assert sessions._remembered.cache_info() == before
