"""Exits that site code raises: each ends one request or task, not the process."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def exit_as_error(raised: BaseException) -> Exception:
    """Return the error that replaces an exit: SystemExit, KeyboardInterrupt and the like.

    On the event loop such an exit would end the process with all its requests. In a sync view it
    is an error of that request alone.
    """
    error = RuntimeError(f"{type(raised).__name__} was raised: {raised}")
    error.__cause__ = raised
    return error.with_traceback(raised.__traceback__)


def without_exit(func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of the site. Raises an error where the function raises an exit."""
    try:
        return func(*args, **kwargs)
    except Exception:
        raise
    except BaseException as raised:
        raise exit_as_error(raised) from raised


def is_cancellation(raised: BaseException) -> bool:
    """Whether the current task is being ended from outside, by cancel() or close().

    A CancelledError that comes from something that the task waited for is none.
    """
    if isinstance(raised, GeneratorExit):
        return True
    task = asyncio.current_task()
    return isinstance(raised, asyncio.CancelledError) and task is not None and task.cancelling() > 0
