"""For the tests of projects: Django's live server and test client, on aiohttp."""

from .client import AioClient, AioResponse
from .liveserver import AioLiveServerTestCase, AioStaticLiveServerTestCase

__all__ = [
    "AioClient",
    "AioLiveServerTestCase",
    "AioResponse",
    "AioStaticLiveServerTestCase",
]
