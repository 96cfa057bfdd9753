"""Applications of coroutine views, for the tests of what surrounds the views."""

from aiodjango import get_aio_subapp
from aiodjango.views import prepare_response


def lifted(*patterns):
    """An application of coroutine views alone."""
    app = get_aio_subapp(list(patterns))
    complete(app)
    return app


def complete(app):
    """Have an application complete the responses that its views begin to send themselves."""
    if prepare_response not in app.on_response_prepare:
        app.on_response_prepare.append(prepare_response)
