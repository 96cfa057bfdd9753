"""run_in_django() and django_context(): sync code of Django's from any coroutine."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.utils import translation

from aiodjango import django_context, run_in_django
from aiodjango.orm import close_orm_threads, orm_calls_through
from aiodjango.orm.work import PAUSE
from tests.support.waiting import DEADLINE, LONGER

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def no_threads_left():
    yield
    assert close_orm_threads(10)
    assert not [t for t in threading.enumerate() if t.name.startswith("aiodjango-orm")]


def thread_name():
    return threading.current_thread().name


class TestRunInDjango:
    async def test_calls_in_an_orm_thread(self):
        def describe(*args, **kwargs):
            return thread_name(), args, kwargs

        name, *given = await run_in_django(describe, 1, func=2, loop=3)
        assert name == "aiodjango-orm-0"
        assert given == [(1,), {"func": 2, "loop": 3}]

    async def test_carries_context_variables_both_ways(self):
        def change():
            seen = variable.get()
            variable.set("by the function")
            return seen

        variable.set("by the caller")
        assert await run_in_django(change) == "by the caller"
        assert variable.get() == "by the function"

    async def test_carries_them_from_a_function_that_fails(self):
        def fail():
            variable.set("before the error")
            raise LookupError("found nothing")

        with pytest.raises(LookupError, match="found nothing"):
            await run_in_django(fail)
        assert variable.get() == "before the error"

    async def test_carries_the_language_both_ways(self):
        def change():
            seen = translation.get_language()
            translation.activate("fr")
            return seen

        with translation.override("de"):
            assert await run_in_django(change) == "de"
            assert translation.get_language() == "fr"

    async def test_leaves_nothing_of_it_to_the_next(self):
        async def first():
            variable.set("the first's")
            await run_in_django(translation.activate, "fr")

        await asyncio.create_task(first())
        assert await run_in_django(variable.get) == "unset"
        assert await run_in_django(translation.get_language) == translation.get_language()

    async def test_async_to_sync_runs_on_this_loop(self):
        async def where():
            await asyncio.sleep(0)
            return asyncio.get_running_loop(), thread_name()

        loop, name = await run_in_django(async_to_sync(where))
        assert loop is asyncio.get_running_loop()
        assert name == thread_name()

    async def test_a_coroutine_under_async_to_sync_gets_the_same_thread_back(self):
        async def inner():
            return await run_in_django(thread_name), await sync_to_async(thread_name)()

        def outer():
            return thread_name(), *async_to_sync(inner)()

        async with django_context():
            names = await asyncio.wait_for(run_in_django(outer), DEADLINE)
        assert set(names) == {"aiodjango-orm-0"}

    async def test_refuses_a_coroutine_function(self):
        async def view():
            raise NotImplementedError

        with pytest.raises(TypeError, match=r"view.* is a coroutine function: await it instead"):
            await run_in_django(view)

    async def test_asyncio_run_in_it_is_an_error_instead_of_a_deadlock(self):
        async def of_asgiref():
            return await sync_to_async(thread_name)()

        async with django_context():
            for nested in (of_asgiref, partial(run_in_django, thread_name)):
                with pytest.raises(RuntimeError, match=r"use async_to_sync\(\), not asyncio.run"):
                    async with asyncio.timeout(DEADLINE):
                        await run_in_django(lambda nested=nested: asyncio.run(nested()))
            assert await run_in_django(thread_name) == "aiodjango-orm-0"

    async def test_stop_iteration_does_not_end_the_caller_quietly(self):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await run_in_django(next, iter([]))
        async with django_context():
            with pytest.raises(RuntimeError, match="StopIteration"):
                await sync_to_async(next)(iter([]))

    async def test_a_call_whose_caller_was_cancelled_in_time_is_never_made(self, settings):
        settings.AIO_ORM_THREADS = 1
        begun, go_on, made = threading.Event(), threading.Event(), []

        def block():
            begun.set()
            go_on.wait(LONGER)

        blocking = asyncio.create_task(run_in_django(block))
        waiting = asyncio.create_task(run_in_django(made.append, 1))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        go_on.set()
        await blocking
        await run_in_django(made.append, 2)
        assert made == [2]

    async def test_cancelling_reaches_what_runs_under_async_to_sync(self):
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def inner():
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        task = asyncio.create_task(run_in_django(async_to_sync(inner)))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(cancelled.wait(), DEADLINE)

    async def test_keeps_no_result(self):
        class Result:
            pass

        result = weakref.ref(await run_in_django(Result))
        async with django_context():
            other = weakref.ref(await sync_to_async(Result)())
        # The thread may still be at the lines after its report.
        async with asyncio.timeout(DEADLINE):
            while result() is not None or other() is not None:
                await asyncio.sleep(0.01)
                gc.collect()


class TestDjangoContext:
    async def test_one_block_has_one_thread(self):
        async def block():
            names, times = set(), []
            async with django_context():
                for _ in range(3):
                    names |= {await sync_to_async(thread_name)(), await run_in_django(thread_name)}
                    times.append(time.monotonic())
            return names, max(after - before for before, after in pairwise(times))

        blocks = await asyncio.gather(*(block() for _ in range(20)))
        for names, pause in blocks:
            assert len(names) == 1 or pause > PAUSE
        assert len(set.union(*(names for names, _ in blocks))) > 1

    async def test_a_block_that_pauses_makes_no_other_thread_start(self, monkeypatch):
        monkeypatch.setattr("aiodjango.orm.thread.PAUSE", 60)  # so that it notices nothing itself
        async with django_context():
            for _ in range(2):
                assert await run_in_django(thread_name) == "aiodjango-orm-0"
                await asyncio.sleep(1.5 * PAUSE)

    async def test_blocks_share_the_work(self, settings):
        settings.AIO_ORM_THREADS = 3
        barrier = threading.Barrier(3, timeout=DEADLINE)

        async def block():
            async with django_context():
                await sync_to_async(barrier.wait)()

        await asyncio.gather(*(block() for _ in range(3)))

    async def test_ends_with_the_block(self):
        async with django_context():
            assert (await sync_to_async(thread_name)()).startswith("aiodjango-orm-")
        assert not (await sync_to_async(thread_name)()).startswith("aiodjango-orm-")

    async def test_tasks_of_the_block_may_outlive_it(self):
        is_over = asyncio.Event()

        async def outlive():
            before = await sync_to_async(thread_name)()
            await is_over.wait()
            return before, await sync_to_async(thread_name)(), await run_in_django(thread_name)

        async with django_context():
            task = asyncio.create_task(outlive())
            await sync_to_async(thread_name)()
        is_over.set()
        assert all(name.startswith("aiodjango-orm-") for name in await task)

    async def test_may_be_left_in_another_context(self):
        """As fixtures and start-up handlers do that yield."""
        block = django_context()
        await asyncio.create_task(block.__aenter__())
        await asyncio.create_task(block.__aexit__(None, None, None))

    async def test_passes_errors_on(self):
        with pytest.raises(LookupError, match="inside"):
            async with django_context():
                raise LookupError("inside")


class TestThreads:
    def test_serve_one_loop_after_the_other(self):
        for _ in range(3):
            assert asyncio.run(run_in_django(thread_name)) == "aiodjango-orm-0"

    def test_serve_uvloop(self):
        uvloop = pytest.importorskip("uvloop", reason="needs the module uvloop")

        async def call():
            async with django_context():
                return await sync_to_async(thread_name)(), await run_in_django(thread_name)

        assert uvloop.run(call()) == ("aiodjango-orm-0", "aiodjango-orm-0")

    def test_serve_two_loops_at_once(self, settings):
        settings.AIO_ORM_THREADS = 2
        barrier = threading.Barrier(2, timeout=DEADLINE)

        async def meet():
            async with django_context():
                await sync_to_async(barrier.wait)()
                return [await run_in_django(thread_name) for _ in range(100)]

        with ThreadPoolExecutor(2) as pool:
            loops = [pool.submit(asyncio.run, meet()) for _ in range(2)]
            names = [set(loop.result(DEADLINE)) for loop in loops]
        assert sorted(names, key=sorted) == [{"aiodjango-orm-0"}, {"aiodjango-orm-1"}]

    def test_survive_a_loop_that_closes_under_a_call(self, settings):
        settings.AIO_ORM_THREADS = 1
        begun, go_on = threading.Event(), threading.Event()

        def block():
            begun.set()
            go_on.wait(LONGER)

        async def leave():
            task = asyncio.create_task(run_in_django(block))
            while not begun.is_set():
                await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(leave())
        go_on.set()
        assert asyncio.run(run_in_django(thread_name)) == "aiodjango-orm-0"

    async def test_start_again_after_close_orm_threads(self):
        assert await run_in_django(thread_name) == "aiodjango-orm-0"
        assert await asyncio.to_thread(close_orm_threads, DEADLINE)
        async with django_context():
            assert await sync_to_async(thread_name)() == "aiodjango-orm-0"
            assert await asyncio.to_thread(close_orm_threads, DEADLINE)
            assert await sync_to_async(thread_name)() == "aiodjango-orm-0"

    async def test_calls_made_before_close_orm_threads_are_made(self, settings):
        settings.AIO_ORM_THREADS = 1
        calls = [asyncio.create_task(run_in_django(lambda n=n: n)) for n in range(50)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(close_orm_threads, DEADLINE)
        assert await asyncio.gather(*calls) == list(range(50))

    async def test_calls_of_one_block_made_before_close_orm_threads_are_made(self):
        begun, go_on = threading.Event(), threading.Event()

        def block():
            begun.set()
            go_on.wait(LONGER)

        async with django_context():
            blocking = asyncio.create_task(run_in_django(block))
            calls = [asyncio.create_task(run_in_django(lambda n=n: n)) for n in range(5)]
            while not begun.is_set():
                await asyncio.sleep(0.01)
            (thread,) = (t for t in threading.enumerate() if t.name.startswith("aiodjango-orm"))
            assert not close_orm_threads(0)
            go_on.set()
            await blocking
            assert await asyncio.wait_for(asyncio.gather(*calls), DEADLINE) == list(range(5))
            await asyncio.to_thread(thread.join, DEADLINE)

    async def test_a_transaction_left_open_is_rolled_back_at_close_orm_threads(
        self, caplog, transactional_db
    ):
        def begin():
            transaction.set_autocommit(False)
            connection.ensure_connection()

        async with django_context():
            await run_in_django(begin)
            assert await asyncio.to_thread(close_orm_threads, DEADLINE)
            assert "left open: the ORM threads were closed" in caplog.text
            with pytest.raises(transaction.TransactionManagementError, match="Rolled back"):
                await run_in_django(transaction.get_autocommit)
            assert await run_in_django(transaction.get_autocommit)

    async def test_upkeep_that_fails_is_logged(self, caplog, transactional_db):
        def close():
            raise RuntimeError("as the test asked")

        def spoil():
            connection.ensure_connection()
            connection.close_if_unusable_or_obsolete = close

        await run_in_django(spoil)
        async with asyncio.timeout(DEADLINE):
            while "as the test asked" not in caplog.text:
                await asyncio.sleep(PAUSE)
        assert "Could not check the connections of thread aiodjango-orm-0" in caplog.text
        assert await run_in_django(thread_name) == "aiodjango-orm-0"

    async def test_that_cannot_be_started_are_done_without(self, settings, monkeypatch, caplog):
        settings.AIO_ORM_THREADS = 2
        begun, go_on = threading.Event(), threading.Event()

        def block():
            begun.set()
            go_on.wait(LONGER)

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await run_in_django(thread_name)
        blocked = asyncio.create_task(run_in_django(block))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        waiting = asyncio.create_task(run_in_django(thread_name))
        await asyncio.sleep(0)
        go_on.set()
        assert await waiting == "aiodjango-orm-0"
        assert "Could not start an ORM thread: 1 are running" in caplog.text
        await blocked

    @pytest.mark.parametrize("count", [0, -1, "8", 2.0, True, None])
    async def test_setting_that_cannot_be(self, settings, count):
        settings.AIO_ORM_THREADS = count
        with pytest.raises(ImproperlyConfigured, match="AIO_ORM_THREADS must be a whole number"):
            await run_in_django(thread_name)


async def test_another_executor_can_stand_in():
    with ThreadPoolExecutor(1, thread_name_prefix="stand-in") as executor:
        with orm_calls_through(executor):
            async with django_context():
                names = [await sync_to_async(thread_name)(), await run_in_django(thread_name)]
            with pytest.raises(LookupError, match="inside"):
                await run_in_django({}.__getitem__, "inside")
        assert names == ["stand-in_0", "stand-in_0"]
    assert await run_in_django(thread_name) == "aiodjango-orm-0"
