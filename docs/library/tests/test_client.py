from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import TestCase

from aiodjango.test import AioClient
from library.models import Book


class BookTests(TestCase):
    async_client_class = AioClient

    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create_user("ann")
        Book.objects.create(title="Emma")

    async def test_coroutine_view(self):
        response = await self.async_client.get("/books/")
        self.assertEqual(response.json(), {"books": ["Emma"]})

    async def test_both_halves(self):
        await self.async_client.aforce_login(self.user)
        response = await self.async_client.post("/add/", {"title": "Persuasion"}, follow=True)
        self.assertRedirects(response, "/books/")
        self.assertContains(response, "Persuasion")
        self.assertTrue(await Book.objects.filter(title="Persuasion").aexists())

    async def test_websocket(self):
        async with self.async_client.ws_connect("/live/") as ws:
            await Book.objects.acreate(title="Evelina")
            await ws.send_str("E")
            self.assertEqual(await ws.receive_str(), "Emma")
            self.assertEqual(await ws.receive_str(), "Evelina")

    def test_in_a_sync_test(self):
        client = AioClient()
        client.force_login(self.user)
        response = async_to_sync(client.get)("/account/")
        self.assertContains(response, "Hello ann")
