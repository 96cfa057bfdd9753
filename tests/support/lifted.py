"""Applications of coroutine views, for the tests of what surrounds the views."""

from aiodjango import get_aio_subapp


def lifted(*patterns):
    """An application of coroutine views alone."""
    return get_aio_subapp(list(patterns))
