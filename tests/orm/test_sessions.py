"""What a view changes in the session of a database is seen by no other, and not lost in silence."""

import asyncio

import pytest

from aiodjango.orm.work import PAUSE
from tests.conftest import require
from tests.support.server import DEADLINE

TENANT = "SELECT current_setting('app.tenant', true)"
SET = "SELECT set_config('app.tenant', %s, false)"
POOL = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 20, "timeout": 20}}}
KINDS = {
    "plain": {},
    "server-side binding": {"OPTIONS": {"server_side_binding": True}},
    "pool": {"CONN_MAX_AGE": 0, **POOL},
}
LONGER = 4  # seconds, than a busy machine needs from one step to the next
# What changes it, and what shows that it is changed or not.
CHANGES = {
    "SET app.tenant = 'own'": (TENANT, ["own"]),
    "/* a comment */ SET app.tenant = 'own'": (TENANT, ["own"]),
    "SELECT 1; SET app.tenant = 'own'": (TENANT, ["own"]),
    "select SET_CONFIG('app.tenant', 'own', false)": (TENANT, ["own"]),
    "SELECT \"set_config\"('app.tenant', 'own', false)": (TENANT, ["own"]),
    "SELECT U&\"set\\005fconfig\"('app.tenant', 'own', false)": (TENANT, ["own"]),
    "WITH t AS (SELECT set_config('app.tenant', 'own', false)) SELECT * FROM t": (TENANT, ["own"]),
    "DO $$ BEGIN PERFORM set_config('app.tenant', 'own', false); END $$": (TENANT, ["own"]),
    "UPDATE pg_settings SET setting = 'own' WHERE name = 'application_name'": (
        "SELECT current_setting('application_name')",
        ["own"],
    ),
    "CREATE TEMPORARY TABLE own ()": ("SELECT to_regclass('pg_temp.own') IS NOT NULL", [True]),
    "SELECT 1 AS a INTO TEMPORARY own": ("SELECT to_regclass('pg_temp.own') IS NOT NULL", [True]),
    "SELECT pg_advisory_lock(7)": (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        [1],
    ),
    "LISTEN own": ("SELECT pg_listening_channels()", ["own"]),
    "PREPARE own AS SELECT 1": ("SELECT name FROM pg_prepared_statements", ["own"]),
}


@pytest.fixture
def connect(site, postgres):
    """Start a site on PostgreSQL: with the settings of the database, and of the site."""

    async def start(settings=None, **more):
        if "pool" in (settings or {}).get("OPTIONS", {}):
            require(module="psycopg_pool")
        return await site(postgres.database(**{"CONN_MAX_AGE": None, **(settings or {})}), **more)

    return start


def first_column(rows):
    return [row[0] for row in rows]


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_see_the_settings_of_no_other(connect, kind):
    client = await connect(KINDS[kind])
    read = [("pause", 0.005), ("sql", TENANT)] * 3
    set_own = (client.steps(("sql", SET, f"t{n}"), *read) for n in range(40))
    set_nothing = (client.steps(*read) for _ in range(24))
    answers = await asyncio.gather(*set_own, *set_nothing)
    for n, answer in enumerate(answers):
        seen = {row[0][0] for row in answer if row}
        assert seen <= ({f"t{n}"} if n < 40 else {None, ""}), answer


async def test_every_kind_of_change_is_kept_apart(connect):
    client = await connect(AIO_ORM_THREADS=1)
    for sql, (shows, changed) in CHANGES.items():
        (before,) = await client.steps(("sql", shows))
        steps = ("sql", sql), ("set", sql), ("pause", PAUSE * 3), ("sql", shows)
        first = asyncio.create_task(client.steps(*steps))
        await client.steps(("wait", sql))
        others = await client.many(5, ("sql", shows))
        assert first_column((await first)[3]) == changed, sql
        assert others == [[before]] * 5, sql


@pytest.mark.parametrize(
    "step",
    [
        ("call_procedure", "own_setting"),
        ("without_django", "SET app.tenant = 'own'"),
        ("by_server_cursor", "SELECT set_config('app.tenant', 'own', false)"),
        ("sql_in_django", SET, "own"),
        ("sql_in_context", [SET, "own"], [TENANT]),
    ],
    ids=lambda step: step[0],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_way_a_change_is_made(connect, postgres, step, kind):
    postgres.query(
        "CREATE OR REPLACE FUNCTION own_setting() RETURNS text LANGUAGE sql"
        " AS $$ SELECT set_config('app.tenant', 'own', false) $$"
    )
    client = await connect(KINDS[kind], AIO_ORM_THREADS=1)
    answer, own = await client.steps(step, ("sql", TENANT))
    if step[0] == "sql_in_context":
        # The block had a session of its own.
        own, others = answer[1], own
        assert others[0][0] in (None, "")
    assert own == [["own"]]
    (others,) = await client.steps(("sql", TENANT))
    assert others[0][0] in (None, "")


async def test_copy_counts_as_a_change(connect):
    client = await connect(AIO_ORM_THREADS=1)
    before, _ = await client.steps("aget", ("copy", "COPY (SELECT 1) TO STDOUT"))
    (after,) = await client.steps("aget")
    assert before["backend"] != after["backend"]


async def test_closing_a_connection_gives_no_pool_a_changed_session(connect):
    client = await connect(KINDS["pool"], AIO_ORM_THREADS=1)
    await client.steps(("sql", SET, "own"), "close")
    for _ in range(3):
        (others,) = await client.steps(("sql", TENANT))
        assert others[0][0] in (None, "")


async def test_what_changes_nothing_shares_and_keeps_the_connection(connect):
    client = await connect(AIO_ORM_THREADS=1)
    plain = [
        "aget",
        ("create", "one"),
        "begin",
        ("sql", "SET LOCAL app.tenant = 'own'"),
        ("sql", "SELECT set_config('app.tenant', %s, true)", "own"),
        "commit",
        ("fail", "never"),
        ("iterate", 7),
        ("sql", "BEGIN"),
        ("sql", "COMMIT"),
        ("sql", "SELECT pg_advisory_xact_lock(1)"),
        ("sql", "(VALUES (1))"),
        "aget",
    ]
    answers = await client.many(10, *plain)
    assert len({answer[n]["backend"] for answer in answers for n in (0, -1)}) == 1


async def test_sqlite(site, sqlite):
    client = await site({**sqlite, "CONN_MAX_AGE": None}, AIO_ORM_THREADS=1)
    (before,) = await client.steps(("sql", "PRAGMA cache_size"))
    changing = client.steps(
        ("sql", "PRAGMA cache_size = 77"),
        ("sql", "CREATE TEMPORARY TABLE own (a)"),
        ("set", "changed"),
        ("pause", PAUSE * 3),
        ("sql", "PRAGMA cache_size"),
        ("sql", "SELECT count(*) FROM own"),
    )
    first = asyncio.create_task(changing)
    await client.steps(("wait", "changed"))
    cache, own = await client.steps(
        ("sql", "PRAGMA cache_size"), ("try_sql", "SELECT count(*) FROM own")
    )
    assert (await first)[4:] == [[[77]], [[0]]]
    assert cache == before
    assert own.startswith("OperationalError: no such table")


@pytest.mark.parametrize("begin", ["BEGIN", "begin isolation level serializable"])
async def test_a_transaction_begun_by_cursor_is_one(connect, begin):
    client = await connect(AIO_ORM_THREADS=1)
    steps = [
        ("sql", begin),
        ("create", "withdrawn"),
        ("set", "in"),
        ("pause", PAUSE * 3),
        ("sql", "ROLLBACK"),
        ("sql", "SELECT pg_backend_pid()"),
    ]
    first = asyncio.create_task(client.steps(*steps))
    await client.steps(("wait", "in"))
    await client.steps(("create", "kept"))
    backend = (await first)[-1]
    titles, after = await client.steps("titles", ("sql", "SELECT pg_backend_pid()"))
    assert "kept" in titles
    assert "withdrawn" not in titles
    assert backend == after


async def test_a_connection_under_way_is_not_closed_to_its_reader(connect):
    """Somebody's iterator is open on the connection whose session another changes."""
    client = await connect(AIO_ORM_THREADS=1)
    steps = ("iterate", 3), ("set", "reading"), ("wait", "changed"), ("more", 9)
    reading = asyncio.create_task(client.steps(*steps))
    await client.steps(("wait", "reading"))
    await client.steps(("sql", SET, "own"))
    (others,) = await client.steps(("sql", TENANT))
    assert others[0][0] in (None, "")
    await client.steps(("set", "changed"))
    assert len((await reading)[-1]) == 4


async def test_those_who_wait_for_a_session_go_to_another_thread(connect):
    client = await connect(AIO_ORM_THREADS=2)
    holding = asyncio.create_task(client.steps(("sql", SET, "own"), ("set", "in"), ("wait", "go")))
    await client.steps(("wait", "in"))
    async with asyncio.timeout(DEADLINE):
        await client.many(10, "aget", ("pause", 0.01), "aget")
    await client.steps(("set", "go"))
    await holding


async def test_what_connection_created_does_is_in_every_session(connect):
    client = await connect(AIO_ORM_THREADS=1, TEST_SESSION_SETTING="site")
    first = await client.steps(("sql", "SELECT current_setting('app.site')"), "aget")
    assert first[0] == [["site"]]
    # It was no view that changed the session.
    assert (await client.steps("aget"))[0]["backend"] == first[1]["backend"]
    await client.steps(("sql", "SET app.site = 'own'"))
    assert (await client.steps(first_step := ("sql", "SELECT current_setting('app.site')"))) == [
        [["site"]]
    ], first_step


@pytest.mark.parametrize("connect_first", [False, True])
async def test_a_tenant_that_the_connection_keeps(connect, connect_first):
    """Without a statement: until the next query it is an attribute of Django's connection."""
    client = await connect({"ENGINE": "tests.orm.project.tenants"}, AIO_ORM_THREADS=1)
    if connect_first:
        before, after = await client.steps("backend", "backend")
        assert before == after
        assert (await client.steps("backend"))[0] == before
    steps = ("set_tenant", "own"), ("set", "tenant"), ("pause", PAUSE * 3), ("sql", TENANT)
    first = asyncio.create_task(client.steps(*steps))
    await client.steps(("wait", "tenant"))
    others = await client.many(3, ("sql", TENANT))
    assert (await first)[3] == [["own"]]
    assert all(answer[0][0][0] in (None, "") for answer in others)


async def test_a_client_that_leaves_leaves_no_session(connect):
    client = await connect(AIO_ORM_THREADS=1)
    for last in (("slow_query", 0.5), ("pause", 0.5)):
        steps = ("sql", SET, "own"), ("set", str(last)), last
        leaving = asyncio.create_task(client.steps(*steps))
        await client.steps(("wait", str(last)))
        leaving.cancel()
        async with asyncio.timeout(DEADLINE):
            ((others,),) = (await client.steps(("sql", TENANT)))[0]
        assert others in (None, "")


async def test_a_statement_that_counts_gives_a_connection_of_its_own(connect, postgres):
    """What to do where a change can't be seen."""
    postgres.query(
        "CREATE OR REPLACE FUNCTION hidden() RETURNS text LANGUAGE sql"
        " AS $$ SELECT set_config('app.tenant', 'own', false) $$"
    )
    client = await connect(AIO_ORM_THREADS=1)
    asked = ("sql", "RESET app.anything"), ("sql", "SELECT hidden()"), ("sql", TENANT)
    assert (await client.steps(*asked))[-1] == [["own"]]
    ((others,),) = (await client.steps(("sql", TENANT)))[0]
    assert others in (None, "")


async def test_without_autocommit_a_connection_is_not_shared(connect):
    client = await connect({"AUTOCOMMIT": False}, AIO_ORM_THREADS=1)
    answers = await client.many(5, ("create", "withdrawn"), ("pause", 0.01), "aget")
    assert len({answer[2]["backend"] for answer in answers}) == 5
    assert "withdrawn" not in (await client.steps("titles"))[0]


class TestWithoutEnd:
    """WebSockets and tasks, which may go on for ever."""

    async def test_a_websocket_keeps_its_session_while_it_uses_it(self, connect):
        client = await connect(AIO_ORM_THREADS=2, AIO_TRANSACTION_TIMEOUT=30)
        async with client.socket() as step:
            await step("sql", SET, "own")
            for _ in range(3):
                await asyncio.sleep(PAUSE * 2)
                assert await step("sql", TENANT) == [["own"]]
                answers = await client.many(4, ("sql", TENANT))
                assert all(answer[0][0][0] in (None, "") for answer in answers)

    async def test_a_websocket_is_told_that_its_session_is_gone(self, connect):
        client = await connect(AIO_ORM_THREADS=1, AIO_TRANSACTION_TIMEOUT=0.5)
        async with client.socket() as step:
            await step("sql", SET, "own")
            ((others,),) = (await client.steps(("sql", TENANT)))[0]  # once it is given up
            assert others in (None, "")
            error = await step("try_sql", TENANT)
            assert error.startswith("TransactionManagementError: Closed a database session")
            assert "views.socket" in error
            assert (await step("sql", TENANT))[0][0] in (None, "")
        assert "views.socket had changed: no database call for 0.5 s" in client.server.output()

    @pytest.mark.parametrize("begin", [("begin",), ("sql", "BEGIN"), ("set_autocommit", False)])
    async def test_transactions_of_websockets_stop_nobody_for_ever(self, connect, begin):
        client = await connect(AIO_ORM_THREADS=4, AIO_TRANSACTION_TIMEOUT=LONGER)
        sockets = [client.socket() for _ in range(4)]
        steps = [await socket.__aenter__() for socket in sockets]
        for step in steps:
            await step(*begin)
            await step("create", "withdrawn")
        async with asyncio.timeout(DEADLINE):
            answers = await client.many(20, ("create", "kept"), "titles")
        assert not any("withdrawn" in titles for _, titles in answers)
        await until(lambda: is_logged(client, "views.socket left open", times=4))
        for step in steps:
            error = await step("try_sql", "SELECT 1")
            assert error.startswith("TransactionManagementError")
            if begin == ("begin",):
                # Django's block is not left yet: none of its queries is done outside of it.
                error = await step("try_sql", "SELECT 1")
                assert error.startswith("TransactionManagementError")
                assert "Rolled back" in await step("try", "commit")
            assert await step("try_sql", "SELECT 1") == [[1]]
        for socket in sockets:
            await socket.__aexit__(None, None, None)
        assert client.server.output().count("views.socket left open") == 4  # once for each

    async def test_a_block_that_only_ends_is_told_too(self, connect):
        client = await connect(AIO_ORM_THREADS=1, AIO_TRANSACTION_TIMEOUT=LONGER)
        async with client.socket() as step:
            await step("begin")
            await step("create", "withdrawn")
            await client.steps("aget")
            assert "Rolled back" in await step("try", "commit")
            assert "withdrawn" not in await step("titles")

    async def test_tasks_of_views_that_have_ended(self, connect):
        client = await connect(AIO_ORM_THREADS=1, AIO_TRANSACTION_TIMEOUT=LONGER)
        await client.background("b", ("wait", "answered"), "begin", ("create", "slow"), "commit")
        await client.background(
            "c", ("wait", "answered"), "begin", ("create", "stuck"), ("wait", "for ever")
        )
        await client.steps(("set", "answered"))
        await client.results("b")
        async with asyncio.timeout(DEADLINE):
            await until(lambda: is_logged(client, "views.background left open"))
            (titles,) = await client.steps("titles")
        assert "slow" in titles
        assert "stuck" not in titles

    async def test_a_task_is_told_that_the_session_ended_with_the_view(self, connect):
        client = await connect(AIO_ORM_THREADS=1)
        await client.steps(
            ("sql", SET, "own"),
            ("later", "t", ("wait", "answered"), ("try_sql", TENANT), ("try_sql", TENANT)),
        )
        ((others,),) = (await client.steps(("sql", TENANT)))[0]
        assert others in (None, "")
        await client.steps(("set", "answered"))
        _, told, then = await client.results("t")
        assert "TransactionManagementError" in told
        assert then[0][0] in (None, "")

    async def test_a_task_has_a_session_of_its_own(self, connect):
        client = await connect(AIO_ORM_THREADS=2)
        await client.background(
            "t", ("wait", "answered"), ("sql", SET, "own"), ("pause", PAUSE * 2), ("sql", TENANT)
        )
        await client.steps(("set", "answered"))
        assert (await client.results("t"))[-1] == [["own"]]

    async def test_a_session_whose_connection_broke_is_not_replaced_in_silence(
        self, connect, postgres
    ):
        client = await connect(AIO_ORM_THREADS=1)
        async with client.socket() as step:
            await step("sql", SET, "own")
            postgres.terminate_backends()
            assert (await step("try_sql", TENANT)).startswith("OperationalError")
            assert "its connection broke" in await step("try_sql", TENANT)
            assert (await step("sql", TENANT))[0][0] in (None, "")


async def is_logged(client, text, times=1):
    return client.server.output().count(text) >= times
