"""Under DEBUG: names the view that blocks the event loop, and the line where it does.

A thread checks a few dozen times a second whether the loop runs a task. If so, it asks the loop for
an answer, and examines the task's stack until it is answered. An idle loop is not woken, and
without DEBUG there is no thread.

Why not asyncio's debug mode? It reports afterwards how long a callback took, which is aiohttp's for
all requests of a connection, and not the line; and it makes each callback several times as slow.
"""

import asyncio
import contextlib
import logging
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import lru_cache, partial
from pathlib import PurePath
from types import FrameType
from typing import Any, ClassVar, NamedTuple

from aiohttp import web
from django.conf import settings
from django.http import HttpRequest

from aiodjango.runtime.bridge import is_run_by_async_to_sync
from aiodjango.runtime.frames import module_of, package_of
from aiodjango.runtime.interpreter import has_gil
from aiodjango.urlconf.patterns import UrlconfPattern, dotted_name

logger = logging.getLogger("aiodjango")

# How long (seconds) a view may block the loop unreported.
THRESHOLD = 0.1
# How often (seconds) the loop is checked.
INTERVAL = THRESHOLD / 4
# After how long (seconds) a view is named although it still blocks: it may wait for its own server.
UNFINISHED = 5.0
# For how long (seconds) the same function is not named again.
REPEAT_INTERVAL = 5.0
# A call into C may keep the GIL all the time. Then the task is seen at one of the instructions
# before or after the call, which may be on other lines.
NEARBY = (
    "No other thread could run for most of that time: the cause may be on a line close to this.\n"
)

# Where files are that belong to no project.
_LIBRARIES = (
    "<frozen ",
    sysconfig.get_path("stdlib") + os.sep,
    sysconfig.get_path("platstdlib") + os.sep,
    str(PurePath(__file__).parents[1]) + os.sep,
)
_INSTALLED = {"site-packages", "dist-packages"}
_BETWEEN = {"aiodjango", "aiohttp", "asgiref", "django"}  # the loop and a view
_DEBUGGERS = {"bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy"}


async def watch_loop(app: web.Application) -> AsyncIterator[None]:
    """Under DEBUG, name in the log what blocks an application's loop. For its cleanup_ctx."""
    if not (settings.DEBUG and can_look_at_frames()):
        yield
        return
    watcher = Watcher.of_this_loop()
    try:
        yield
    finally:
        watcher.release()


def can_look_at_frames() -> bool:
    """Whether the frames of other threads may be examined, apart from their local variables."""
    # https://docs.python.org/3/howto/free-threading-python.html
    return has_gil() or sys.version_info >= (3, 14)


class Position(NamedTuple):
    """A line in the code of a project.

    view: the dotted name of the view that has called it, None for a task without a request.
    """

    view: str | None
    filename: str
    line: int
    function: str

    def __str__(self) -> str:
        summary = traceback.FrameSummary(self.filename, self.line, self.function)
        return "".join(traceback.format_list([summary]))


class Watcher:
    """The thread that watches one loop, shared by the applications that run on it."""

    _lock = threading.Lock()
    _by_loop: ClassVar[dict[asyncio.AbstractEventLoop, "Watcher"]] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._users = 0
        self._answered = threading.Event()
        self._ending = threading.Event()
        self._follow_loop()
        self._reported: dict[tuple[str | None, str, str], float] = {}
        self._thread = threading.Thread(target=self._run, name="aiodjango-watcher", daemon=True)
        self._thread.start()

    @classmethod
    def of_this_loop(cls) -> "Watcher":
        """Return the running loop's watcher, and start it for the first caller.

        Each caller has to call release() in the end.
        """
        loop = asyncio.get_running_loop()
        with cls._lock:
            watcher = cls._by_loop.get(loop)
            if watcher is None:
                watcher = cls._by_loop[loop] = cls(loop)
            watcher._users += 1
        return watcher

    def release(self) -> None:
        """End the thread, if no other application needs it."""
        self._users -= 1
        if self._users == 0:
            self._ending.set()
            self._answered.set()
            self._thread.join()

    # ---- On the loop ----

    def _answer(self) -> None:
        if threading.get_ident() != self._loop_thread:
            self._follow_loop()
        self._answered.set()

    def _follow_loop(self) -> None:
        self._loop_thread = threading.get_ident()
        self._computed = _cpu_clock()

    # ---- In the watcher's thread ----

    def _run(self) -> None:
        stopwatch = Stopwatch(self._cpu_time)
        # A loop may be closed without a call of release().
        while not (self._ending.wait(INTERVAL) or self._loop.is_closed()):
            stopwatch.lap()
            if asyncio.current_task(self._loop) is not None:
                self._watch(stopwatch)
        with self._lock:
            del self._by_loop[self._loop]

    def _watch(self, stopwatch: "Stopwatch") -> None:
        """Report what blocks the loop for longer than THRESHOLD, until it answers."""
        # Until then each task has run for one step at most: its next one is after the answer.
        block = Block(None, 0.0)
        self._answered.clear()
        with contextlib.suppress(RuntimeError):  # it has just been closed
            self._loop.call_soon_threadsafe(self._answer)
        while not (self._ending.is_set() or self._loop.is_closed()):
            task, position = self._look()
            if task is None or task is not block.task:
                self._report(block, stopwatch.elapsed)
                # Before this look it may have blocked this thread as well.
                block = Block(task, stopwatch.elapsed - stopwatch.late)
            block.positions[position] += 1
            block.unseen = max(block.unseen, stopwatch.late)
            if stopwatch.elapsed - block.begun > UNFINISHED:
                self._report(block, stopwatch.elapsed, is_over=False)
            if self._answered.wait(INTERVAL):
                break
            stopwatch.lap()
        stopwatch.lap()
        block.unseen = max(block.unseen, stopwatch.late)
        self._report(block, stopwatch.elapsed)

    def _look(self) -> tuple[asyncio.Task[Any] | None, Position | None]:
        """Return the task that the loop runs, and its line in the project's code."""
        task = asyncio.current_task(self._loop)
        if task is None:
            return None, None
        # (_current_frames() is documented.) A task that has ended by now is on no stack.
        frames = _frames_of(task, sys._current_frames().get(self._loop_thread))
        if not frames or any(package_of(frame) in _DEBUGGERS for frame in frames):
            return None, None
        return task, _find_position(frames)

    def _report(self, block: "Block", now: float, *, is_over: bool = True) -> None:
        took = now - block.begun
        if block.task is None or block.is_reported or took <= THRESHOLD:
            return
        block.is_reported = True
        ((position, _),) = block.positions.most_common(1)
        if position is None:
            return  # not in the project's code
        key = position.view, position.filename, position.function
        if now < self._reported.get(key, now):
            return
        self._reported[key] = now + REPEAT_INTERVAL
        logger.warning(
            "%s %s the event loop for %.2f s%s, and nothing else was served meanwhile:\n%s%s"
            "Await an async library here, or await asyncio.to_thread(…) for what waits or "
            "computes and aiodjango.run_in_django(…) for Django's sync code.",
            f"The view {position.view}" if position.view else "A task",
            "blocked" if is_over else "has blocked",
            took,
            "" if is_over else " until now",
            position,
            NEARBY if block.unseen > took / 2 else "",
        )

    def _cpu_time(self) -> float:
        try:
            return self._computed()
        except OSError:  # pragma: no cover - the loop's thread has ended just now
            return 0.0


class Block:
    """A time in which the loop ran one step of one task."""

    def __init__(self, task: asyncio.Task[Any] | None, begun: float) -> None:
        self.task = task
        self.begun = begun
        self.positions: Counter[Position | None] = Counter()
        # The longest time (seconds) in which the interpreter was not free for a look.
        self.unseen = 0.0
        self.is_reported = False


class Stopwatch:
    """Measures time, without the time in which the process did not run.

    If a laptop was closed, a process was stopped or a machine is overloaded, the watcher itself
    wakes late, and no view is the cause. But it also wakes late when the loop's thread computes
    without releasing the GIL. So a wait that took longer than intended counts as far as the loop's
    thread has computed in it.

    computed: returns how long the loop's thread has computed until now, in seconds.
    """

    def __init__(self, computed: Callable[[], float]) -> None:
        self._computed = computed
        self._now, self._cpu = time.monotonic(), computed()
        self.elapsed = 0.0
        # How much of the last wait was longer than asked for, and counts.
        self.late = 0.0

    def lap(self) -> None:
        """Count a wait of INTERVAL, or less, that has ended."""
        now, cpu = time.monotonic(), self._computed()
        waited = now - self._now
        self.late = max(0.0, min(waited - INTERVAL, cpu - self._cpu))
        self.elapsed += min(waited, INTERVAL) + self.late
        self._now, self._cpu = now, cpu


def _cpu_clock() -> Callable[[], float]:
    """Return a clock of the calling thread's processor time, for other threads."""
    if not hasattr(time, "pthread_getcpuclockid"):
        # Of the whole process, which is the best there is.
        return time.process_time  # pragma: no cover - macOS, Windows
    return partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))


def _frames_of(task: asyncio.Task[Any], frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a running task, outermost first; none if `frame` is not within it."""
    root = getattr(task.get_coro(), "cr_frame", None)
    frames = []
    while frame is not None:
        frames.append(frame)
        if frame is root:
            return frames[::-1]
        frame = frame.f_back
    return []


def _find_position(frames: list[FrameType]) -> Position | None:
    """Return the innermost line of a task in the project's code, or else in its view."""
    view, own = _find_view(frames)
    for frame in reversed(own):
        if not _is_library(frame.f_code.co_filename):
            return _position(view, frame)
    if view is not None:
        for frame in own:
            if package_of(frame) not in _BETWEEN:  # a view that was installed
                return _position(view, frame)
    return None


def _find_view(frames: list[FrameType]) -> tuple[str | None, list[FrameType]]:
    """Return the name of the view that a task runs, if any, and the frames below the call."""
    for number, frame in enumerate(frames):
        if (
            frame.f_code.co_qualname == "make_handler.<locals>.handler"
            and module_of(frame) == "aiodjango.views.handler"
        ):
            return _coroutine_view_name(frames[number:]), frames[number + 1 :]
    if is_run_by_async_to_sync(frames[0].f_code):  # a native async view of Django, for one
        return _async_django_view_name(frames[1:]), frames[1:]
    return None, frames


def _coroutine_view_name(frames: list[FrameType]) -> str | None:
    """Return the name of the coroutine view that the first of the frames calls."""
    if has_gil():
        pattern: UrlconfPattern = frames[0].f_locals["pattern"]
        return pattern.view_name
    own = (frame for frame in frames if package_of(frame) not in _BETWEEN)
    names = (f"{module_of(frame)}.{frame.f_code.co_qualname}" for frame in own)
    return next(names, None)


def _async_django_view_name(frames: list[FrameType]) -> str | None:
    """Return the name of Django's async view, by a request in the arguments of the frames."""
    if not has_gil():
        return None
    for frame in frames:
        code, values = frame.f_code, frame.f_locals
        for name in code.co_varnames[: code.co_argcount]:
            request = values.get(name)
            if isinstance(request, HttpRequest) and request.resolver_match is not None:
                return dotted_name(request.resolver_match.func)
    return None


def _position(view: str | None, frame: FrameType) -> Position:
    code = frame.f_code
    # A frame that is just between two lines has none.
    line = frame.f_lineno or code.co_firstlineno
    return Position(view, code.co_filename, line, code.co_name)


@lru_cache(maxsize=1024)
def _is_library(filename: str) -> bool:
    return filename.startswith(_LIBRARIES) or not _INSTALLED.isdisjoint(PurePath(filename).parts)
