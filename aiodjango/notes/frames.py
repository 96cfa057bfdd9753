"""The calls that a traceback shows."""

from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


def frames_of(traceback: TracebackType | None) -> Iterator[FrameType]:
    """The calls of a traceback, the outermost first."""
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def arguments(frame: FrameType) -> dict[str, Any]:
    """The named arguments of a call."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: value for name, value in frame.f_locals.items() if name in names}


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def package_of(frame: FrameType) -> str:
    """The first part of the name of the module."""
    return module_of(frame).partition(".")[0]
