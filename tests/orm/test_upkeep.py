"""What is done to a connection between two pieces of work, and while others are under way."""

import pytest
from django.db import Error, connections, transaction
from django.test.utils import CaptureQueriesContext

from aiodjango.orm.connections import Connections
from tests.conftest import require


@pytest.fixture
def cursors():
    return []


@pytest.fixture
def connection(postgres, request, cursors):
    """A connection of this thread to PostgreSQL, under the only alias."""
    require(module="psycopg")
    settings = getattr(request, "param", {})
    replaced = connections.settings, connections["default"]
    connections.settings = {
        "default": connections.configure_settings(
            {"default": postgres.database(**{"CONN_MAX_AGE": None, **settings})}
        )["default"]
    }
    del connections["default"]
    yield connections["default"]
    connections["default"].close()
    connections.settings, connections["default"] = replaced


@pytest.fixture
def upkeep(connection, cursors, django_db_blocker):
    with django_db_blocker.unblock():
        yield Connections(cursors.append, lambda connection: False)


def query(connection, sql="SELECT pg_backend_pid()"):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def fail(connection):
    with pytest.raises(Error, match="no_such_column"):
        query(connection, "SELECT no_such_column")


class TestBroken:
    def test_a_connection_that_works_is_kept(self, connection, upkeep):
        pid = query(connection)
        fail(connection)
        upkeep.close_broken()
        assert not connection.errors_occurred
        assert query(connection) == pid

    def test_a_connection_that_was_cut_at_rest_is_closed(self, connection, upkeep, postgres):
        query(connection)
        assert postgres.terminate_backends() == 1
        upkeep.close_broken()
        assert connection.connection is None
        query(connection)

    @pytest.mark.parametrize("step", ["close_broken", "close_obsolete"])
    def test_a_connection_that_its_user_closed_is_given_up(self, connection, upkeep, step):
        """Behind the back of Django, which would not open another one by itself."""
        query(connection)
        connection.connection.close()
        getattr(upkeep, step)()
        assert connection.connection is None
        query(connection)

    def test_a_transaction_is_left_alone(self, connection, upkeep):
        with transaction.atomic():
            fail(connection)
            upkeep.close_broken()
            assert connection.connection is not None
            assert upkeep.in_transaction()
        assert not upkeep.in_transaction()

    def test_an_old_connection_is_kept(self, connection, upkeep):
        pid = query(connection)
        connection.close_at = 0
        assert upkeep.is_overdue()
        upkeep.close_broken()
        assert query(connection) == pid

    @pytest.mark.parametrize("connection", [{"CONN_HEALTH_CHECKS": True}], indirect=True)
    @pytest.mark.parametrize("step", ["close_broken", "close_obsolete"])
    def test_health_checks_are_due_again(self, connection, upkeep, step):
        query(connection)
        checks = []
        connection.is_usable, usable = lambda: checks.append(1) or usable(), connection.is_usable
        query(connection)
        assert not checks
        getattr(upkeep, step)()
        query(connection)
        query(connection)
        assert len(checks) == 1


class TestObsolete:
    def test_an_old_connection_is_closed(self, connection, upkeep):
        query(connection)
        assert not upkeep.is_overdue()
        connection.close_at = 0
        upkeep.close_obsolete()
        assert connection.connection is None
        assert not upkeep.is_overdue()

    def test_a_connection_that_was_cut_at_rest_is_closed(self, connection, upkeep, postgres):
        query(connection)
        postgres.terminate_backends()
        upkeep.close_obsolete()
        assert connection.connection is None

    def test_a_connection_with_autocommit_off_is_closed(self, connection, upkeep):
        query(connection)
        transaction.set_autocommit(False)
        assert upkeep.in_transaction()
        upkeep.close_obsolete()
        assert connection.connection is None

    def test_the_log_of_queries_begins_anew(self, connection, upkeep):
        with CaptureQueriesContext(connection):
            query(connection)
            assert connection.queries_log
            upkeep.close_obsolete()
            assert not connection.queries_log


def test_transactions_left_open_are_rolled_back(connection, upkeep):
    connection.cursor().execute("CREATE TABLE rolled_back (number integer)")
    transaction.atomic().__enter__()
    connection.cursor().execute("INSERT INTO rolled_back VALUES (1)")
    upkeep.renew()
    assert not upkeep.in_transaction()
    assert query(connections["default"], "SELECT count(*) FROM rolled_back") == 0
    transaction.atomic().__enter__()
    assert upkeep.in_transaction()  # the new connection is known as well
    upkeep.renew()
    connections["default"].cursor().execute("DROP TABLE rolled_back")


def test_a_connection_without_a_transaction_has_nothing_to_roll_back(connection, upkeep):
    pid = query(connection)
    upkeep.renew()
    assert query(connections["default"]) == pid


def test_a_database_that_cannot_be_loaded_is_no_obstacle_to_others(connection, upkeep, caplog):
    missing = {"ENGINE": "no.such.engine", "NAME": "missing"}
    connections.settings["missing"] = connections.configure_settings({"default": missing})[
        "default"
    ]
    other = Connections([].append, lambda connection: False)
    query(connection)
    connection.close_at = 0
    other.close_obsolete()
    assert connection.connection is None
    assert [record.getMessage() for record in caplog.records] == [
        "Could not load the database 'missing'"
    ]


def test_cursors_that_are_read_in_parts_are_noted(connection, upkeep, cursors):
    query(connection)
    assert cursors == []
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        assert cursors == [cursor]


def test_a_process_without_open_connections_has_nothing_to_do(connection, upkeep):
    for step in ("close_broken", "close_obsolete", "close_unread"):
        getattr(upkeep, step)()
    assert upkeep.renew() == []
    assert connection.connection is None
    assert not upkeep.in_transaction()
    assert not upkeep.is_pooled()
