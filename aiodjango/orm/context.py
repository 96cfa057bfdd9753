"""Django's ORM on the event loop: which code uses the ORM threads.

Django's async ORM makes its calls by asgiref's `sync_to_async()`: by default all calls of a process
in a single thread, over a single connection that is never checked. Here they go to the ORM threads
instead, as do those of `run_in_django()`.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from aiohttp import web
from asgiref.sync import sync_to_async

from aiodjango.conf import orm_thread_count, transaction_timeout
from aiodjango.runtime.exits import exit_as_error, is_cancellation, without_exit

from .pool import OrmPool
from .private import (
    context_of,
    restore_context,
    serve_async_to_sync,
    thread_sensitive_context,
    thread_waits_here,
)
from .work import Work

P = ParamSpec("P")
R = TypeVar("R")

_work: contextvars.ContextVar[Work] = contextvars.ContextVar("aiodjango.orm.work")
_pool = OrmPool(orm_thread_count, transaction_timeout)
_stand_ins: list[Executor] = []  # the last one makes the calls instead of the pool


class _OrmExecutor(Executor):
    """The executor of all contexts for asgiref; it chooses the thread by the work."""

    def submit(  # type: ignore[override]
        self, fn: Callable[..., R], /, *args: Any, **kwargs: Any
    ) -> asyncio.Future[R]:
        # The event loop accepts a future of asyncio too. One of concurrent.futures would wake the
        # loop for each call.
        return _submit(_work.get(), partial(fn, *args, **kwargs))


# One context for all code, never left: tasks may make calls after the view that started them.
_orm_context = context_of(_OrmExecutor())


async def run_in_django(func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a sync function that uses Django in an ORM thread, and return its result.

    Inside a coroutine view or `django_context()` it is the thread of the other database calls. The
    function sees the caller's context variables, among them the active language, and the caller
    sees those that it sets. `async_to_sync()` in it runs its coroutine on this event loop. If the
    caller is cancelled, a function that has begun continues to its end, and one that has not begun
    is never called.

    Raises what the function raises, RuntimeError where that is SystemExit, KeyboardInterrupt or
    another exit, which would end the process here, and TypeError for a coroutine function.
    """
    if thread_waits_here():
        try:
            return await sync_to_async(func)(*args, **kwargs)
        except BaseException as raised:
            if isinstance(raised, Exception) or is_cancellation(raised):
                raise
            raise exit_as_error(raised) from raised
    work = _work.get(None)
    if work is not None:
        return await _call(work, func, *args, **kwargs)
    work = Work(None, func)
    try:
        return await _call(work, func, *args, **kwargs)
    finally:
        work.end()


@contextlib.asynccontextmanager
async def django_context() -> AsyncIterator[None]:
    """Give any coroutine the ORM threads, as a coroutine view has them.

    For handlers of a host application, start-up tasks and the like, in `async with`. What is
    awaited inside uses the ORM threads, and so do tasks that are started inside, even after its
    end. Each block is a piece of work of its own, which keeps to one thread until it pauses.
    """
    task = asyncio.current_task()
    coroutine = task.get_coro() if task else None
    name = getattr(coroutine, "__qualname__", "a task")
    work = Work(None, f"django_context() in {name}")
    work_token = _work.set(work)
    token = thread_sensitive_context.set(_orm_context)
    try:
        yield
    finally:
        work.end()
        try:
            thread_sensitive_context.reset(token)
            _work.reset(work_token)
        except ValueError:
            pass  # left in another context than it was entered in, as in fixtures


def begin_work(request: web.BaseRequest, view: Callable[..., Any]) -> Work:
    """Give the handler of a request the ORM threads, from within its task.

    The caller ends the work by `Work.end()`. It costs next to nothing until the database is used.
    Tasks that the handler starts inherit it, and may use it after that end.
    """
    work = Work(request, view)
    _work.set(work)
    thread_sensitive_context.set(_orm_context)
    return work


@contextlib.contextmanager
def orm_calls_through(executor: Executor) -> Iterator[None]:
    """Let `executor` make all ORM calls of the process, instead of the ORM threads.

    For tests: a test's transaction is visible on its own connection only, so all calls have to use
    that one. The executor has to make the calls one at a time, and to check its connections itself.
    Calls that are being made when the block is entered or left are not affected. Of several
    blocks, which may end in any order, the one that was entered last counts.
    """
    _stand_ins.append(executor)
    try:
        yield
    finally:
        _stand_ins.remove(executor)


def close_orm_threads(timeout: float = 10.0) -> bool:
    """End the ORM threads and close their connections; the next call starts new ones.

    For tests, before their database is destroyed. Blocks until the calls being made have ended.

    timeout: how long it blocks at most, in seconds.

    Returns whether the calls have ended.
    """
    return _pool.close(timeout)


def _submit(work: Work, call: Callable[[], R]) -> asyncio.Future[R]:
    if _stand_ins:
        return asyncio.wrap_future(_stand_ins[-1].submit(without_exit, call))
    return _pool.submit(work, call)


async def _call(work: Work, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function as sync_to_async() does, in a shorter time."""
    context = contextvars.copy_context()
    tasks: list[asyncio.Task[Any]] = []  # that async_to_sync() runs for the function
    loop = asyncio.get_running_loop()

    def run() -> R:
        restore_context(context)
        result = func(*args, **kwargs)
        if isinstance(result, CoroutineType):
            result.close()
            raise TypeError(
                f"run_in_django() calls sync functions, and {func!r} is a coroutine function: "
                "await it instead."
            )
        return result

    def run_in_thread() -> R:
        serve_async_to_sync(loop, tasks)
        return context.run(run)

    try:
        result: R = await _submit(work, run_in_thread)
    except asyncio.CancelledError:
        # The function may still be using the context.
        for task in tasks:
            task.cancel()
        raise
    except BaseException:
        restore_context(context)
        raise
    restore_context(context)
    return result
