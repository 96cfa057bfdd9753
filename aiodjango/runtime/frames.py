"""What a frame of a traceback or of a thread belongs to."""

from types import FrameType
from typing import Any


def arguments(frame: FrameType) -> dict[str, Any]:
    """The named arguments of a call."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: value for name, value in frame.f_locals.items() if name in names}


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def package_of(frame: FrameType) -> str:
    """The first part of the name of the module."""
    return module_of(frame).partition(".")[0]
