"""The fixtures of aiodjango: their entry point needs an installation."""

from pytest_aiodjango import aio_client  # noqa: F401
