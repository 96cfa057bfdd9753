"""What a test can have a coroutine view do, one step after the other."""

import asyncio
import gc
import threading
from collections import defaultdict

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.db.models import IntegerField
from django.db.models.expressions import RawSQL

from aiodjango import django_context, run_in_django
from tests.support.waiting import DEADLINE

from .models import Book

events = defaultdict(asyncio.Event)
barriers = defaultdict(lambda: threading.Barrier(8, timeout=DEADLINE))


def backend():
    """SQL for the process id of the database's end of the connection."""
    return "pg_backend_pid()" if connection.vendor == "postgresql" else "0"


def here():
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {backend()}")
        (pid,) = cursor.fetchone()
    return {"thread": threading.current_thread().name, "backend": pid}


def create_and_fail(title):
    with transaction.atomic():
        Book.objects.create(title=title)
        raise ValueError("as the test asked")


def rows(sql, *values):
    """Execute a statement by a cursor; returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


def call_procedure(name):
    with connection.cursor() as cursor:
        cursor.callproc(name)


def copy(sql):
    with connection.cursor() as cursor, cursor.copy(sql):
        pass


def collect_inside_a_query():
    """Leave an iterator to a garbage collection that runs while the driver executes a query."""
    iterator = Book.objects.order_by("pk").iterator(chunk_size=2)
    next(iterator)
    cycle = [iterator]
    cycle.append(cycle)
    del iterator, cycle
    connection.connection.add_notice_handler(lambda notice: gc.collect())
    with connection.cursor() as cursor:
        cursor.execute("DO $$BEGIN RAISE NOTICE 'now'; END$$")


def execute_without_django(sql):
    connection.ensure_connection()
    connection.connection.execute(sql)


async def perform_steps(doing, steps):
    return [await doing.perform(*step) for step in steps]


class Steps:
    """The steps of one view; what they leave open is kept between them."""

    async def perform(self, name, *arguments):
        return await getattr(self, "try_" if name == "try" else name)(*arguments)

    # --- Queries: each says in which thread it ran, over which connection ---

    async def aget(self):
        pid = RawSQL(await self.backend(), [], output_field=IntegerField())
        book = await Book.objects.annotate(pid=pid).aget(pk=1)
        return {"thread": book.read_in, "backend": book.pid}

    async def backend(self):
        return await sync_to_async(backend)()

    async def run(self):
        return await run_in_django(here)

    async def try_aget(self):
        try:
            return await self.aget()
        except Exception as error:
            return type(error).__name__

    async def sync(self):
        return await sync_to_async(here)()

    async def nested(self):
        async def read():
            return [await self.aget(), await run_in_django(here)]

        return await run_in_django(async_to_sync(read))

    async def create(self, title):
        await Book.objects.acreate(title=title)

    async def titles(self):
        return [book.title async for book in Book.objects.order_by("pk")]

    async def slow_query(self, seconds):
        def query():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(%s)", [seconds])

        await sync_to_async(query)()

    async def fail(self, title):
        try:
            await run_in_django(create_and_fail, title)
        except ValueError as error:
            return str(error)

    async def broken_query(self):
        """A query that fails; the view goes on."""

        def query():
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")

        try:
            await sync_to_async(query)()
        except Exception as error:
            return type(error).__name__

    # --- The session ---

    async def sql(self, sql, *values):
        return await sync_to_async(rows)(sql, *values)

    async def sql_in_django(self, sql, *values):
        return await run_in_django(rows, sql, *values)

    async def sql_in_context(self, *statements):
        async with django_context():
            return [await sync_to_async(rows)(*statement) for statement in statements]

    async def try_sql(self, sql, *values):
        """The rows, or the error."""
        try:
            return await self.sql(sql, *values)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def try_(self, name):
        try:
            return await self.perform(name)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def call_procedure(self, name):
        await sync_to_async(call_procedure)(name)

    async def copy(self, sql):
        await sync_to_async(copy)(sql)

    async def without_django(self, sql):
        await sync_to_async(execute_without_django)(sql)

    async def by_server_cursor(self, sql):
        """By a cursor of the driver that the server keeps."""

        def execute():
            connection.ensure_connection()
            with connection.connection.cursor("own", withhold=True) as cursor:
                return cursor.execute(sql).fetchall()

        await sync_to_async(execute)()

    async def set_tenant(self, tenant):
        await run_in_django(lambda: connection.set_tenant(tenant))

    async def set_autocommit(self, autocommit):
        await sync_to_async(transaction.set_autocommit)(autocommit)

    async def close(self):
        await sync_to_async(lambda: connection.close())()

    async def later(self, name, *steps):
        """Do the steps in a task that outlives the view."""
        from .views import tasks

        tasks[name] = asyncio.create_task(perform_steps(self, steps))

    # --- What stays open ---

    async def iterate(self, number):
        """Read so many books of a new iterator, which asks the database for two at a time."""
        self.iterator = Book.objects.order_by("pk").aiterator(chunk_size=2)
        return await self.more(number)

    async def more(self, number):
        books = []
        while len(books) < number:
            try:
                book = await anext(self.iterator)
            except StopAsyncIteration:
                break
            books.append({"title": book.title, "thread": book.read_in})
        return books

    async def drop(self):
        """Leave the iterator to the garbage collector."""
        del self.iterator

    async def collect_inside_a_query(self):
        await run_in_django(collect_inside_a_query)

    async def begin(self):
        self.atomic = transaction.atomic()
        await sync_to_async(self.atomic.__enter__)()

    async def commit(self):
        await sync_to_async(self.atomic.__exit__)(None, None, None)

    async def roll_back(self):
        await sync_to_async(transaction.set_rollback)(True)
        await self.commit()

    # --- Order between views ---

    async def pause(self, seconds):
        await asyncio.sleep(seconds)

    async def wait(self, name):
        await events[name].wait()

    async def set(self, name):
        events[name].set()

    async def meet(self, name):
        """Block a thread until eight do."""
        await run_in_django(barriers[name].wait)
        return threading.active_count()

    async def time_out(self, seconds):
        """Give up waiting for a query."""
        try:
            await asyncio.wait_for(self.slow_query(seconds), 0.05)
        except TimeoutError:
            return "timed out"

    async def threads(self):
        return sorted(t.name for t in threading.enumerate() if t.name.startswith("aiodjango-orm"))

    async def connections(self):
        """How many connections psycopg has open in this process."""
        import psycopg

        return sum(type(c) is psycopg.Connection and not c.closed for c in gc.get_objects())

    async def pool(self):
        return connection.pool.get_stats()
