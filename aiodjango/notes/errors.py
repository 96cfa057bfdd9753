"""Adds notes to exceptions of views, before Django shows and logs them."""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.handlers.base import BaseHandler
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .calls import note_of_call
from .deployment import complete_log
from .mixups import explain_result, note_of_mix_up
from .requests import note_of_request
from .responses import note_of_response

_check_response = BaseHandler.check_response


def explain_errors() -> None:
    """Explain errors of coroutine views, and of Django views that mix up the two halves.

    Django sends a signal for every exception of a view, before the debug page and the log: other
    requests have no cost. For an aiohttp response that a view returned to Django, which would fail
    in the first middleware that reads it, Django has no hook but one method, which is replaced.
    """
    got_request_exception.connect(_add_notes, dispatch_uid="aiodjango.notes")
    complete_log()
    BaseHandler.check_response = _checked  # type: ignore[method-assign]


def _checked(self: BaseHandler, response: Any, callback: Any, name: str | None = None) -> None:
    """Raise TypeError for what a view returned to Django, if it is a mix-up of the two halves."""
    if isinstance(response, HttpResponseBase):
        return
    # A name is given for a middleware.
    if name is None and (explanation := explain_result(callback, response)) is not None:
        raise TypeError(explanation)
    _check_response(self, response, callback, name)


def _add_notes(request: HttpRequest, **kwargs: Any) -> None:
    error = sys.exc_info()[1]
    if error is None:
        return
    for each in _related(error, set()):
        notes = note_of_mix_up(request, each) or note_of_call(each)
        if notes := notes or note_of_request(each) or note_of_response(each):
            break
    else:
        return
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _related(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception, those in its group, and those that led to it."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for other in (*members, before):
        if other is not None:
            yield from _related(other, seen)
