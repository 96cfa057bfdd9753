"""ORM threads over a fork, and at the end of a process."""

import json
import subprocess
import sys

import pytest

from tests.support.environment import ROOT, environment
from tests.support.server import DEADLINE

SETUP = """
import asyncio, contextvars, json, os, sys, threading, time
os.environ["TEST_SETTINGS"] = sys.argv[1]
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.orm.project.settings"
import django
django.setup()
from aiodjango import django_context, run_in_django
from tests.orm.project.steps import here
"""

FORK = """
before = asyncio.run(run_in_django(here))

async def forked():
    async with django_context():
        await run_in_django(here)
        reading, writing = os.pipe()
        if os.fork() == 0:
            # The child is still inside the block, the thread of which has stayed in the parent.
            child = asyncio.run(run_in_django(here))
            os.write(writing, json.dumps(child).encode())
            os._exit(0)
        os.close(writing)
        child = json.loads(os.read(reading, 1000))
        os.wait()
        return child, await run_in_django(here)

child, after = asyncio.run(forked())
print(json.dumps([before, child, after, os.getpid()]))
"""

FORK_OF_AN_ORM_THREAD = """
reading, writing = os.pipe()

def fork():
    before = here()
    if os.fork() == 0:
        # The call of the block is being made, in the only thread that the child has.
        child = threading.Thread(target=context.run, args=(call_again,))
        child.start()
        child.join()
        os._exit(0)
    child = json.loads(os.read(reading, 1000))
    os.wait()
    return before, child, here()

def call_again():
    os.write(writing, json.dumps(asyncio.run(run_in_django(here))).encode())

async def forking():
    global context
    async with django_context():
        context = contextvars.copy_context()
        return await run_in_django(fork)

print(json.dumps(asyncio.run(forking())))
"""

FORK_OF_THE_MAIN_THREAD = """
from django.db import connection, connections
from aiodjango import get_aio_routes
get_aio_routes(())
if connection.vendor == "sqlite":
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE mine AS SELECT 1")
before = here()
reading, writing = os.pipe()
if os.fork() == 0:
    child = here()
    is_inherited = False
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_temp_master")
            is_inherited = bool(cursor.fetchall())
    os.write(writing, json.dumps([child, is_inherited]).encode())
    os.close(writing)
    sys.exit()
os.close(writing)
child, is_inherited = json.loads(os.read(reading, 1000))
os.wait()
print(json.dumps([before, child, here(), is_inherited]))
"""

EXIT = """
async def main():
    begun = threading.Event()
    def block():
        begun.set()
        threading.Event().wait()
    task = asyncio.create_task(run_in_django(block))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()

asyncio.run(main())
"""


def run(script, database):
    return subprocess.run(
        [sys.executable, "-Wignore::DeprecationWarning", "-c", SETUP + script]
        + [json.dumps({"DATABASES": {"default": database}})],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize("age", [0, None])
def test_after_a_fork_there_are_new_threads_and_connections(database, age):
    done = run(FORK, database(CONN_MAX_AGE=age))
    assert done.returncode == 0, done.stderr
    before, child, after, _ = json.loads(done.stdout)
    assert before["thread"] == child["thread"] == after["thread"] == "aiodjango-orm-0"
    if after["backend"]:
        assert child["backend"] != after["backend"]
        assert (before["backend"] == after["backend"]) is (age is None)


def test_a_process_that_is_forked_in_a_call_can_make_calls(database):
    done = run(FORK_OF_AN_ORM_THREAD, database())
    assert (done.returncode, done.stderr) == (0, "")
    before, child, after = json.loads(done.stdout)
    assert before == after
    if before["backend"]:
        assert child["backend"] != before["backend"]


def test_a_forked_process_leaves_the_connections_of_its_thread_to_its_parent(database):
    done = run(FORK_OF_THE_MAIN_THREAD, database())
    assert (done.returncode, done.stderr) == (0, "")
    before, child, after, is_inherited = json.loads(done.stdout)
    assert not is_inherited
    assert before == after  # the child's end has not ended its session
    if before["backend"]:
        assert child["backend"] != before["backend"]


def test_a_database_in_memory_is_copied_by_a_fork(sqlite):
    done = run(FORK_OF_THE_MAIN_THREAD, {**sqlite, "NAME": ":memory:"})
    assert (done.returncode, done.stderr) == (0, "")
    *_, is_inherited = json.loads(done.stdout)
    assert is_inherited


def test_a_call_does_not_delay_the_end_of_the_process(sqlite):
    done = run(EXIT, sqlite)
    assert done.returncode == 0, done.stderr
