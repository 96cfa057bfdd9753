import asyncio
from urllib.request import urlopen

import aiohttp

from aiodjango.test import AioLiveServerTestCase
from library.models import Book


class LiveTests(AioLiveServerTestCase):
    def test_books(self):
        Book.objects.create(title="Emma")
        with urlopen(self.live_server_url + "/books/") as response:
            self.assertEqual(response.read(), b'{"books": ["Emma"]}')

    def test_websocket(self):
        Book.objects.create(title="Emma")

        async def first_book():
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(self.ws_url + "/live/") as ws,
            ):
                await ws.send_str("all")
                return await ws.receive_str()

        self.assertEqual(asyncio.run(first_book()), "Emma")
