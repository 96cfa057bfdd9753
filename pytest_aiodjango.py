"""The pytest fixtures of aiodjango.

pytest loads this module in all projects, so aiodjango and Django are imported only in fixtures.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiodjango.test import AioClient, AioLiveServerTestCase
    from aiodjango.test.broadcasts import CapturedBroadcasts

if find_spec("pytest_django"):

    @pytest.fixture
    def _aiodjango_database(transactional_db: None) -> None:
        """A database whose rows are committed, because another thread reads them."""

else:

    @pytest.fixture
    def _aiodjango_database() -> None:
        """No database, without pytest-django."""


@pytest.fixture
def aio_client(request: pytest.FixtureRequest) -> "Iterator[AioClient]":
    """A client for coroutine views and Django's views: see `aiodjango.test.AioClient`.

    For async and sync tests. With `db` or `transactional_db`, the views use the test's own
    connection, as does the async ORM in the test.
    """
    from aiodjango.test import AioClient
    from aiodjango.test.connections import shared_connections

    for name in ("transactional_db", "db"):
        if name in request.fixturenames:
            request.getfixturevalue(name)  # first, so that it ends after the client
    with shared_connections():
        client = AioClient()
        yield client
        client.close_between_tests()


@pytest.fixture
def captured_broadcasts() -> "Iterator[CapturedBroadcasts]":
    """The events that the test publishes: see `aiodjango.test.capture_broadcasts`."""
    from aiodjango.test import capture_broadcasts

    with capture_broadcasts() as captured:
        yield captured


@pytest.fixture
def aio_live_server(_aiodjango_database: None) -> "Iterator[AioLiveServer]":
    """A live server in a thread of its own: see `aiodjango.test.AioLiveServerTestCase`.

    It has the attributes `url` and `ws_url`. The test gets `transactional_db`.
    """
    from django.apps import apps
    from django.test import modify_settings

    from aiodjango.test import AioLiveServerTestCase, AioStaticLiveServerTestCase

    has_finders = apps.is_installed("django.contrib.staticfiles")
    base = AioStaticLiveServerTestCase if has_finders else AioLiveServerTestCase

    class Server(base):  # type: ignore[misc, valid-type]
        """Not a test: it starts and ends a server."""

    with modify_settings(ALLOWED_HOSTS={"append": Server.allowed_host}):
        try:
            Server._start_server_thread()
            yield AioLiveServer(Server)
        finally:
            Server.doClassCleanups()


class AioLiveServer:
    """A running server at `url` and, for WebSockets, `ws_url`. Adding a path returns its URL."""

    def __init__(self, case: "type[AioLiveServerTestCase]") -> None:
        self.url: str = case.live_server_url
        self.ws_url: str = case.ws_url

    def __str__(self) -> str:
        return self.url

    def __add__(self, path: str) -> str:
        return f"{self}{path}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"
