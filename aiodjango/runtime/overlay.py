"""The context variables of a request in a thread that has a context of its own.

A worker thread keeps one context for its life, as under any WSGI server. So what is kept per thread
in context variables, above all by asgiref's `Local` (Django's `caches`), is made once for the
thread and not for each request. The variables that aiohttp's middlewares have set for a request are
added to that context while the thread runs the request.
"""

from contextvars import Context

# Variables whose values belong to one thread: those of asgiref's `Local`, which all have one name,
# and the arithmetic context of `decimal`, an object that threads must not share.
_THREADS_OWN = frozenset(("asgiref.local", "decimal_context"))


class laid_over:
    """A context manager: the variables of `context` are set in the current context inside it.

    (Written with contextlib it would be slower.)
    """

    __slots__ = ("_context", "_tokens")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._tokens = [
            (variable, variable.set(value))
            for variable, value in self._context.items()
            if variable.name not in _THREADS_OWN
        ]

    def __exit__(self, *exc_info: object) -> None:
        for variable, token in self._tokens:
            variable.reset(token)
