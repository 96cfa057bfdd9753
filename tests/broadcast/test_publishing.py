"""When and from where `publish()` is heard: transactions, forks, threads, the end of a process."""

import asyncio
import socket
import sys

import pytest

from aiodjango.orm.sessions import may_change_session
from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

from .test_processes import bells, hears, python, server, variables

__all__ = ["bells", "python", "server", "variables"]

SETUP = """
import asyncio, multiprocessing, os, sys, threading
import django
django.setup()
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from aiodjango.broadcast import apublish, publish

def say(event, **options):
    publish("everybody", event, **options)
"""
CODE = {
    "all transactions that are open have to be committed": (
        """
with transaction.atomic():
    with transaction.atomic(using="other"):
        say("both")
    say("now", now=True)
""",
        ["now", "both"],
    ),
    "one of two is rolled back": (
        """
with transaction.atomic():
    with transaction.atomic(using="other"):
        say("never")
        transaction.set_rollback(True, using="other")
say("after")
""",
        ["after"],
    ),
    "a savepoint is rolled back": (
        """
with transaction.atomic():
    say(1)
    try:
        with transaction.atomic():
            say(2)
            raise ValueError
    except ValueError:
        pass
    with transaction.atomic():
        say(3)
with transaction.atomic(durable=True):
    say(4)
""",
        [1, 3, 4],
    ),
    "autocommit is off": (
        """
from django.db import connection
connection.ensure_connection()
transaction.set_autocommit(False)
try:
    say("never")
except transaction.TransactionManagementError as error:
    assert "whose autocommit is off: publish with now=True" in str(error), error
else:
    raise AssertionError
transaction.commit()
say("committed", now=True)
""",
        ["committed"],
    ),
    "coroutines": (
        """
async def main():
    say(1)  # there is no transaction on an event loop
    await apublish("everybody", 2)

@transaction.atomic
def save(event):
    say(event)

connection.ensure_connection()  # not later than that of the thread that sends
asyncio.run(main())
save(3)
asyncio.run(sync_to_async(save)(4))
""",
        [1, 2, 3, 4],
    ),
    "the parent after a fork": (
        """
say(1, now=True)
if os.fork():
    assert os.wait()[1] == 0
    say(3, now=True)
else:
    say(2, now=True)
    sys.exit()
""",
        [1, 2, 3],
    ),
    "a child of multiprocessing, which ends at once": (
        """
say(1, now=True)
child = multiprocessing.get_context("fork").Process(target=say, args=(2,), kwargs={"now": True})
child.start()
child.join()
assert child.exitcode == 0
say(3, now=True)
""",
        [1, 2, 3],
    ),
    "a long loop": ("for number in range(5000): say(number, now=True)", [*range(5000)]),
}


@pytest.mark.parametrize("case", CODE)
async def test_what_is_heard(case, python, bells):
    code, expected = CODE[case]
    done = await python("-Wignore:This process:DeprecationWarning", "-c", SETUP + code)
    assert done == (0, "", "")
    for ws in bells:
        heard = await hears(ws, len(expected))
        # Two processes are two publishers.
        assert (sorted(heard) if "fork" in code else heard) == expected


async def test_threads_that_publish_at_once(python, bells):
    code = """
barrier = threading.Barrier(20)

def run(number):
    barrier.wait()
    say(number, now=True)

threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    done = await python("-c", SETUP + code)
    assert done == (0, "", "")
    for ws in bells:
        assert sorted(await hears(ws, 20)) == [*range(20)]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_process_ends_without_the_broker(answers, python, variables):
    """It waits some seconds, and says what is lost."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not answers:
            listener.close()
        code = f"""
from django.conf import settings
settings.AIO_BROADCAST = {{
    "BACKEND": "aiodjango.broadcast.redis.RedisBackend",
    "LOCATION": "redis://127.0.0.1:{port}",
}}
say("never", now=True)
"""
        code, output, errors = await python("-c", SETUP + code)
    assert (code, output) == (0, "")
    assert "Events were not sent: the broker is unavailable." in errors


def test_publishing_leaves_the_session_of_a_database_connection_as_it_is():
    """So that an ORM thread goes on to serve others."""
    assert not may_change_session("SELECT pg_notify(%s, %s)", "postgresql")


async def test_workers_of_celery_that_end_after_each_task(variables, bells, python, request):
    """Its processes end without atexit: nothing is lost with them."""
    require(module="celery")
    broker = request.getfixturevalue("redis").url.replace("unix://", "redis+socket://")
    variables["CELERY_BROKER"] = broker
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "celery", "-A", "tests.broadcast.project.tasks", "worker"),
        *("--pool=prefork", "--concurrency=2", "--max-tasks-per-child=1"),
        env=environment(**variables),
        cwd=ROOT,
    )
    try:
        code = "from tests.broadcast.project.tasks import ring\n"
        done = await python("-c", code + "for number in range(4): ring.delay(number)")
        assert done == (0, "", "")
        for ws in bells:
            assert sorted(await hears(ws, 4)) == [0, 1, 2, 3]
    finally:
        worker.terminate()
        async with asyncio.timeout(DEADLINE):
            await worker.wait()
