from django.contrib.auth.models import User
from django.test import TransactionTestCase

from aiodjango.test import AioClient

from .models import Note


class WallTests(TransactionTestCase):
    async_client_class = AioClient

    def setUp(self):
        self.user = User.objects.create_superuser("ann")

    async def test_notes(self):
        await Note.objects.acreate(text="Hello", author="bob")
        response = await self.async_client.get("/notes/")
        self.assertEqual([note["text"] for note in response.json()], ["Hello"])

    async def test_what_a_user_writes(self):
        await self.async_client.aforce_login(self.user)
        async with self.async_client.ws_connect("/live/") as ws:
            await ws.send_json("Hello")
            note = await ws.receive_json()
        self.assertEqual((note["text"], note["author"]), ("Hello", "ann"))

    async def test_what_the_admin_saves(self):
        await self.async_client.aforce_login(self.user)
        await Note.objects.acreate(text="First")
        async with self.async_client.ws_connect("/live/") as ws:
            self.assertEqual((await ws.receive_json())["text"], "First")
            await self.async_client.post("/admin/wall/note/add/", {"text": "Hello"})
            self.assertEqual((await ws.receive_json())["text"], "Hello")
