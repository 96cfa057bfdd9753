"""The context of a request in a thread that has a context of its own.

A worker thread keeps one context for its life, as a thread of any WSGI server does. So whatever is
kept per thread in context variables, above all by asgiref's `Local` (Django's `caches`), is made
once for the thread and not for each request. What aiohttp's middlewares have set for a request is
added to that context while the thread runs the request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context

# Variables whose values belong to one thread: those of asgiref's `Local`, which all have one name,
# and the arithmetic context of `decimal`, an object that threads must not share.
_THREADS_OWN = frozenset(("asgiref.local", "decimal_context"))


@contextmanager
def laid_over(context: Context) -> Iterator[None]:
    """Set the variables of `context` in the current one; afterwards put back what was there."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in context.items()
        if variable.name not in _THREADS_OWN
    ]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
