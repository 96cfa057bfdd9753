"""AioClient in Django's test cases: the views see the test's transaction, in the test's thread."""

import asyncio

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django.test.testcases import DatabaseOperationForbidden

from aiodjango.test import AioClient
from tests.test import urls
from tests.test.conftest import SITE

HALVES = ("", "/aio")


class Mixin:
    """The same, for a test case of each kind, in tests of each kind."""

    async_client_class = AioClient

    def test_in_a_sync_test(self):
        client = AioClient()
        Group.objects.create(name="test")
        for half in HALVES:
            response = async_to_sync(client.get)(f"{half}/groups/")
            assert response.json() == {"groups": ["test"], **urls.where()}
        for half in HALVES:
            async_to_sync(client.post)(f"{half}/groups/", {"name": f"view{half}"})
        assert Group.objects.count() == 3

    async def test_in_an_async_test(self):
        await Group.objects.acreate(name="test")
        own = await sync_to_async(urls.where)()
        for half in HALVES:
            response = await self.async_client.get(f"{half}/groups/")
            assert response.json() == {"groups": ["test"], **own}
        for half in HALVES:
            await self.async_client.post(f"{half}/groups/", {"name": f"view{half}"})
        assert await Group.objects.acount() == 3

    async def test_websocket(self):
        await Group.objects.acreate(name="test")
        async with self.async_client.ws_connect("/socket/") as ws:
            await ws.receive_json()
            await ws.send_str("socket")
            own = await sync_to_async(urls.where)()
            assert await ws.receive_json() == [2, own]
        assert await Group.objects.acount() == 2

    async def test_stream(self):
        own = await sync_to_async(urls.where)()
        for half in HALVES:
            response = await self.async_client.get(f"{half}/stream/")
            self.assertContains(response, f'"connection": {own["connection"]}')

    async def test_one_at_a_time(self):
        urls.OVERLAP.update(now=0, most=0)
        paths = ["/slow/", "/aio/slow/"] * 4
        responses = await asyncio.gather(*map(self.async_client.get, paths))
        assert {response.status_code for response in responses} == {200}
        assert urls.OVERLAP == {"now": 0, "most": 1}

    async def test_coroutines_of_djangos_half_run_on_the_servers_loop(self):
        await Group.objects.acreate(name="test")
        loop = (await self.async_client.get("/loop/")).json()["loop"]
        for path in ("/with-coroutine/", "/native/"):
            response = await self.async_client.get(path)
            assert response.json() == {"loop": loop, "groups": 1}
        assert loop == id(asyncio.get_running_loop())

    def test_rows_are_gone_after_each_test(self):
        assert Group.objects.count() == 0


@override_settings(**SITE)
class TestCaseTests(Mixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create_user("ann", password="secret")

    def test_login_in_a_sync_test(self):
        client = AioClient()
        assert not client.login(username="ann", password="wrong")
        assert client.login(username="ann", password="secret")
        for half in HALVES:
            response = async_to_sync(client.get)(f"{half}/visits/")
            assert response.json()["user"] == "ann"
        client.logout()
        assert async_to_sync(client.get)("/aio/visits/").json()["user"] == ""

    async def test_login_in_an_async_test(self):
        client = self.async_client
        await client.aforce_login(self.user)
        for number, half in enumerate(HALVES, 1):
            response = await client.get(f"{half}/visits/")
            assert response.json() == {"visits": number, "user": "ann"}
        await client.alogout()
        assert (await client.get("/visits/")).json() == {"visits": 1, "user": ""}

    def test_requests_of_a_view(self):
        Group.objects.create(name="test")
        response = async_to_sync(AioClient().get)("/nested/")
        assert response.json()["answers"] == [{"groups": ["test"], **urls.where()}] * 2

    def test_djangos_client_shares_the_session(self):
        client = AioClient()
        client.cookies = self.client.cookies
        self.client.force_login(self.user)
        assert async_to_sync(client.get)("/aio/visits/").json()["user"] == "ann"
        assert self.client.get("/visits/").json()["visits"] == 2

    def test_queries_are_counted(self):
        client = AioClient()
        for half in HALVES:
            with self.assertNumQueries(1):
                async_to_sync(client.get)(f"{half}/groups/")

    def test_callbacks_on_commit_are_captured(self):
        client = AioClient()
        for half in HALVES:
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                async_to_sync(client.get)(f"{half}/commit/")
            assert len(callbacks) == 1
            assert Group.objects.filter(name="committed").delete()[0] == 1

    async def test_callbacks_on_commit_are_not_called(self):
        await self.async_client.get("/commit/")
        assert not await Group.objects.aexists()

    async def test_assertions(self):
        for half in HALVES:
            response = await self.async_client.get(f"{half}/page/")
            self.assertContains(response, "<h1>A page</h1>", html=True)
            self.assertNotContains(response, "another")
            self.assertTemplateUsed(response, "testing/page.html")
            path = f"{half}/redirect/302/?to={half}/page/"
            response = await self.async_client.get(path)
            self.assertRedirects(response, f"{half}/page/", fetch_redirect_response=False)
            response = await self.async_client.get(path, follow=True)
            self.assertRedirects(response, f"{half}/page/")


@override_settings(**SITE)
class TransactionTestCaseTests(Mixin, TransactionTestCase):
    async def test_callbacks_on_commit_are_called(self):
        for half in HALVES:
            await self.async_client.get(f"{half}/commit/")
            deleted, _ = await Group.objects.filter(name="committed").adelete()
            assert deleted == 1

    def test_views_leave_the_connection_open(self):
        with transaction.atomic():
            connection.ensure_connection()
        close_at, connection.close_at = connection.close_at, 0
        try:
            own = urls.where()
            for half in HALVES:
                assert async_to_sync(AioClient().get)(f"{half}/groups/").json() == {
                    "groups": [],
                    **own,
                }
            assert connection.close_at == 0
        finally:
            connection.close_at = close_at


@override_settings(**SITE)
class SimpleTestCaseTests(SimpleTestCase):
    async_client_class = AioClient

    async def test_no_database(self):
        response = await self.async_client.get("/aio/headers/")
        self.assertContains(response, "text")

    async def test_database_is_refused(self):
        for half in HALVES:
            with self.assertRaisesMessage(DatabaseOperationForbidden, "not allowed in Simple"):
                await self.async_client.get(f"{half}/groups/")
