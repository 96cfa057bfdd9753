"""Functions of Django that a coroutine view cannot call as a sync view does."""

import inspect
import re
from collections.abc import Iterator
from traceback import walk_tb
from types import FrameType, TracebackType

from aiohttp import web
from django.core.exceptions import SynchronousOnlyOperation
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.forms import BaseForm

from aiodjango.runtime.frames import arguments, module_of, package_of

# Whose frames lie between a view and what went wrong in Django.
_LIBRARIES = ("django", "asgiref", "contextlib", "functools", "inspect")
_IN_THREAD = "await run_in_django(function, …), with aiodjango.run_in_django"
_READ = "[each async for each in queryset]"
_AUTH = "django.contrib.auth"
_TEMPLATE = (
    "The template reads the database: load what it shows before (await aget_user(request) for the "
    "user, a list instead of a QuerySet), or render in a thread: "
    'await run_in_django(render, django_request(request), "page.html", context).'
)
# Methods that Python calls by syntax or by a builtin function, with what replaces them.
_SPECIAL = {
    "__iter__": f"read the QuerySet by `async for`, or as {_READ}",
    "__len__": "write await queryset.acount()",
    "__bool__": "write await queryset.aexists()",
    "__getitem__": f"slice the QuerySet and read it by `async for`, or as {_READ}",
    "__repr__": f"read the QuerySet by `async for`, or as {_READ}",
    "__contains__": "write await queryset.acontains(instance)",
}
_ATOMIC = (
    f"A transaction needs one thread: put `with atomic():` into a sync function and {_IN_THREAD}."
)


def note_of_call(error: BaseException) -> list[str]:
    """Explain sync code of Django, or code of Django that was given aiohttp's request."""
    frames = _calls_of_django(error.__traceback__)
    if isinstance(error, SynchronousOnlyOperation):
        return [_way_out_of_sync(frames)]
    for frame in frames:
        if any(isinstance(value, web.BaseRequest) for value in arguments(frame).values()):
            return [_note_of_foreign_request(frame)]
    return [*_notes_of_types(str(error))] if isinstance(error, TypeError) else []


def _calls_of_django(traceback: TracebackType | None) -> list[FrameType]:
    """Return the calls at the end of a traceback that are Django's, the outermost first."""
    calls: list[FrameType] = []
    for frame, _ in walk_tb(traceback):
        if package_of(frame) in _LIBRARIES:
            calls.append(frame)
        else:
            calls.clear()
    return [frame for frame in calls if package_of(frame) == "django"]


def _way_out_of_sync(frames: list[FrameType]) -> str:
    for frame in frames:
        name = frame.f_code.co_name
        module = module_of(frame)
        owner = arguments(frame).get("self")
        if module == "django.db.transaction":
            return _ATOMIC
        if module.startswith("django.template."):
            return _TEMPLATE
        if module.startswith("django.contrib.sessions."):
            return "Write await aget_session(request) first, with aiodjango.aget_session."
        if name in ("get_user", "_get_user_session_key") and module.startswith(_AUTH):
            return "Write await aget_user(request) first, with aiodjango.aget_user."
        if isinstance(owner, BaseForm | Paginator):
            kind = "form" if isinstance(owner, BaseForm) else "paginator"
            call = f"lambda: {kind}.{name}" if _is_property(owner, name) else f"{kind}.{name}"
            return f"Write await run_in_django({call}), with aiodjango.run_in_django."
        if f"a{name}" in frame.f_globals:
            return f"Write await a{name}(…), or {_IN_THREAD}."
        if callable(getattr(type(owner), f"a{name}", None)):
            return f"Write await ….a{name}(…), or {_IN_THREAD}."
        if isinstance(owner, QuerySet) and name in _SPECIAL:
            return f"On the event loop {_SPECIAL[name]}. Or {_IN_THREAD}."
        if name == "__get__" and module.startswith("django.db."):
            return (
                "A related object that is not loaded yet would be read here: load it with the "
                f"first query, by select_related() or prefetch_related(), or {_IN_THREAD}."
            )
    return (
        "A coroutine view runs on the event loop, where sync database code cannot run: write the "
        f"async form (aget(), acreate(), asave(), `async for`), or {_IN_THREAD}."
    )


def _is_property(owner: object, name: str) -> bool:
    return not callable(getattr(type(owner), name, None))


def _notes_of_types(message: str) -> Iterator[str]:
    """Explain a TypeError of Python's own by its message."""
    if re.search(r"'coroutine'|(iterable|got|type|instance,) coroutine", message):
        yield "An `await` is missing: a coroutine function was called without it."
    elif "asynchronous context manager" in message and re.search(r"\bAtomic\b", message):
        yield _ATOMIC
    elif re.search(r"\bSubscription\b", message):
        yield "Enter a subscription by `async with subscribe(…) as events:`."
    elif "await" in message and re.search(r"\b\w*(QuerySet|Manager)\b", message):
        yield f"A QuerySet is not awaited: read it by `async for`, or as {_READ}."
    elif "await" in message and re.search(r"\b(HttpResponse\w*|NoneType|\w*Request)\b", message):
        yield "The function that is awaited here is not a coroutine function: remove `await`."


def _note_of_foreign_request(frame: FrameType) -> str:
    name = frame.f_code.co_name
    if inspect.iscoroutinefunction(frame.f_globals.get(f"a{name}")):
        call = f"await a{name}"
    elif frame.f_code.co_flags & inspect.CO_COROUTINE:
        call = f"await {name}"
    else:
        call = name
    return (
        f"{module_of(frame)}.{name}() takes Django's request, and got aiohttp's: write "
        f"{call}(django_request(request), …), with aiodjango.django_request."
    )
