"""What a project's own tests may expect: the test client, live servers, Django's test cases."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.http import HttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path

from aiodjango import get_aio_subapp
from aiodjango.broadcast import apublish, publish, subscribe
from aiodjango.test import AioClient, AioLiveServerTestCase, capture_broadcasts
from tests.support.waiting import DEADLINE


async def bell(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async with subscribe("groups") as events:
        await ws.send_str("listening")
        await events.send_to(ws)
    return ws


def add(request, name):
    Group.objects.create(name=name)
    return HttpResponse("added")


async def say(request, name):
    await apublish("groups", name)
    return web.Response()


urlpatterns = [path("bell/", bell), path("add/<name>/", add), path("say/<name>/", say)]


@pytest.fixture(autouse=True)
def _signal():
    def ring(sender, instance, **kwargs):
        publish("groups", instance.name)

    post_save.connect(ring, sender=Group)
    yield
    post_save.disconnect(ring, sender=Group)


@override_settings(ROOT_URLCONF=__name__)
class TestInATransaction(TestCase):
    """Whose transaction is never committed."""

    async def test_a_websocket_hears_what_is_committed(self):
        async with AioClient() as client, client.ws_connect("/bell/") as ws:
            assert await ws.receive_str() == "listening"
            await self.add("one")
            assert await ws.receive_json(timeout=DEADLINE) == "one"
            await client.get("/add/never committed/")
            await client.get("/say/two/")
            assert await ws.receive_json(timeout=DEADLINE) == "two"

    @sync_to_async
    def add(self, name):
        with self.captureOnCommitCallbacks(execute=True):
            Group.objects.create(name=name)

    async def test_captured_in_an_async_test(self):
        with capture_broadcasts() as captured:
            async with AioClient() as client:
                await client.get("/add/one/")
                await client.get("/say/two/")
            await self.add("three")
            await Group.objects.acreate(name="four")
            assert captured == [
                ("groups", "two"),
                ("groups", "three"),
                ("groups", "one"),
                ("groups", "four"),
            ]
        await Group.objects.acreate(name="not captured")
        assert len(captured) == 4


@override_settings(ROOT_URLCONF=__name__)
class TestWithCommits(TransactionTestCase):
    async def test_a_websocket_hears_what_is_committed(self):
        async with AioClient() as client, client.ws_connect("/bell/") as ws:
            assert await ws.receive_str() == "listening"
            await client.get("/add/one/")
            assert await ws.receive_json(timeout=DEADLINE) == "one"


@override_settings(ROOT_URLCONF=__name__)
class TestLiveServer(AioLiveServerTestCase):
    """The test is another thread of the server's process."""

    async def test_the_pages_hear_what_the_test_publishes(self):
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.ws_url + "/bell/") as ws,
        ):
            assert await ws.receive_str() == "listening"
            publish("groups", "now")
            assert await ws.receive_json(timeout=DEADLINE) == "now"

    def test_a_sync_test_publishes(self):
        async def listen(listening):
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(self.ws_url + "/bell/") as ws,
            ):
                await ws.receive_str()
                await asyncio.to_thread(listening)
                return json.loads(await ws.receive_str(timeout=DEADLINE))

        def listening():
            with transaction.atomic():
                publish("groups", "committed")
            connection.close()

        assert asyncio.run(listen(listening)) == "committed"


async def test_two_applications_of_a_loop_end_one_by_one(aiohttp_client):
    """The first that ends takes nothing from the second."""
    first = await aiohttp_client(get_aio_subapp(urlpatterns))
    second = await aiohttp_client(get_aio_subapp(urlpatterns))
    async with second.ws_connect("/bell/") as ws:
        assert await ws.receive_str() == "listening"
        await first.close()
        await apublish("groups", 1)
        assert await ws.receive_json(timeout=DEADLINE) == 1
        async with second.ws_connect("/bell/") as late:
            assert await late.receive_str() == "listening"
            await apublish("groups", 2)
            for one in ws, late:
                assert await one.receive_json(timeout=DEADLINE) == 2
