"""Django's ORM on the event loop: where `await Book.objects.aget()` does its work.

Django's async ORM hands its calls to asgiref's `sync_to_async()`, which by itself runs all those of
a process in a single thread, over a single connection that nothing looks after. Here they go to the
ORM threads instead, as do those of `run_in_django()`.
"""

import asyncio
import contextlib
import contextvars
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from aiohttp import web
from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from asgiref.sync import _restore_context as restore_context

from aiodjango.conf import orm_thread_count, transaction_timeout
from aiodjango.runtime.exits import exit_as_error, is_cancellation, without_exit

from .threads import OrmThreads
from .work import Work

P = ParamSpec("P")
R = TypeVar("R")

_work: contextvars.ContextVar[Work] = contextvars.ContextVar("aiodjango.orm.work")


async def run_in_django(func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a sync function that uses Django in an ORM thread, and return its result.

    Inside a coroutine view or `django_context()` it is the thread of the other database calls. The
    function sees the caller's context variables, among them the active language, and the caller
    those that it sets. `async_to_sync()` in it runs its coroutine on this event loop. When the
    caller is cancelled, a function that has begun goes on to its end, and one that has not begun
    is never called.

    Raises what the function raises, RuntimeError where that is SystemExit, KeyboardInterrupt or
    another exit, which would end the process here, and TypeError for a coroutine function.
    """
    if getattr(AsyncToSync.executors, "current", None) is not None:
        # A thread waits in async_to_sync() for this very coroutine: it's the one to use.
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
    """Give the ORM threads to any coroutine, as a coroutine view has them.

    For handlers of a host application, start-up tasks and the like, in `async with`. What is
    awaited inside uses the ORM threads, and so do tasks that are started inside, even after its
    end. Each block is a piece of work of its own, which keeps to one thread until it pauses.
    """
    work = Work(None, f"django_context() in {_task_name()}")
    work_token = _work.set(work)
    token = SyncToAsync.thread_sensitive_context.set(_CONTEXT)
    try:
        yield
    finally:
        work.end()
        try:
            SyncToAsync.thread_sensitive_context.reset(token)
            _work.reset(work_token)
        except ValueError:
            pass  # left in another context, as fixtures are: the one entered is gone


def begin_work(request: web.BaseRequest, view: Callable[..., Any]) -> Work:
    """Give the ORM threads to the handler of a request, from within its task.

    Its end has to be told by `Work.end()`. All this costs next to nothing until the database is
    used. What the handler starts inherits it, and goes on to be served after that end.
    """
    work = Work(request, view)
    _work.set(work)
    SyncToAsync.thread_sensitive_context.set(_CONTEXT)
    return work


def _task_name() -> str:
    """What runs in the current task."""
    task = asyncio.current_task()
    coroutine = task.get_coro() if task else None
    return getattr(coroutine, "__qualname__", "a task")


@contextlib.contextmanager
def orm_calls_through(executor: Executor) -> Iterator[None]:
    """Have `executor` make all ORM calls of the process, instead of the ORM threads.

    For tests: a test's transaction is seen only through its own connection, so everything has to
    use that one. The executor must make the calls one at a time; it looks after its connections
    itself. Calls that are under way when the block is entered or left are not affected. Of several
    blocks, which may end in any order, the one that was entered last counts.
    """
    _EXECUTOR.stand_ins.append(executor)
    try:
        yield
    finally:
        _EXECUTOR.stand_ins.remove(executor)


def close_orm_threads(timeout: float = 10.0) -> bool:
    """End the ORM threads and close their connections; the next call starts new ones.

    For tests, before their database is destroyed. Blocks until the calls under way have ended,
    at most `timeout` seconds; returns whether they have.
    """
    return _THREADS.close(timeout)


async def _call(work: Work, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    context = contextvars.copy_context()
    tasks: list[asyncio.Task[Any]] = []  # that async_to_sync() runs for the function
    loop = asyncio.get_running_loop()
    call = partial(_run, loop, tasks, context, func, args, kwargs)
    try:
        result: R = await _submit(work, call)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    except BaseException:
        restore_context(context)
        raise
    restore_context(context)
    return result


# --- What is not public in asgiref, and needed nevertheless ------------------------------------
#
# Entering a ThreadSensitiveContext for each request is the public way to the ORM threads; it costs
# every request 4 us, whether it uses the database or not. And sync_to_async() does for any function
# what run_in_django() needs for a few: it costs half as much again as a quick query.


class _OrmExecutor(Executor):
    """What asgiref takes for the one thread of a context: it finds the thread by the work."""

    def __init__(self) -> None:
        self.stand_ins: list[Executor] = []

    def submit(  # type: ignore[override]
        self, fn: Callable[..., R], /, *args: Any, **kwargs: Any
    ) -> asyncio.Future[R]:
        # The event loop takes a future of its own as it is. One of concurrent.futures would have
        # the loop woken for every single call.
        return _submit(_work.get(), partial(fn, *args, **kwargs))


def _submit(work: Work, call: Callable[[], R]) -> asyncio.Future[R]:
    if _EXECUTOR.stand_ins:
        return asyncio.wrap_future(_EXECUTOR.stand_ins[-1].submit(without_exit, call))
    return _THREADS.submit(work, call)


def _run(
    loop: asyncio.AbstractEventLoop,
    tasks: list[asyncio.Task[Any]],
    context: contextvars.Context,
    func: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> R:
    """Call a function as sync_to_async() does, in the thread."""
    # By these async_to_sync() finds the loop.
    SyncToAsync.threadlocal.main_event_loop = loop
    SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()
    SyncToAsync.threadlocal.task_context = tasks

    def run() -> R:
        restore_context(context)
        result = func(*args, **kwargs)
        if isinstance(result, CoroutineType):
            result.close()
            raise TypeError(
                f"run_in_django() calls sync functions, and {func!r} is a coroutine function: "
                "await it as it is."
            )
        return result

    return context.run(run)


_THREADS = OrmThreads(orm_thread_count, transaction_timeout)
_EXECUTOR = _OrmExecutor()
# One context for all, entered once and never left: work may outlive the view that began it.
_CONTEXT = ThreadSensitiveContext(executor=_EXECUTOR)
SyncToAsync.context_to_thread_executor[_CONTEXT] = _EXECUTOR
