"""For the tests of projects: Django's live server and test client, on aiohttp."""

from aiodjango.orm import close_orm_threads

from .broadcasts import capture_broadcasts
from .client import AioClient
from .liveserver import AioLiveServerTestCase, AioStaticLiveServerTestCase
from .response import AioResponse

__all__ = [
    "AioClient",
    "AioLiveServerTestCase",
    "AioResponse",
    "AioStaticLiveServerTestCase",
    "capture_broadcasts",
    "close_orm_threads",
]
