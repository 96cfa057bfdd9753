"""Logins that end in one process close the WebSockets of all: two workers and a command."""

import json
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.support.postgres import Cluster
from tests.support.waiting import DEADLINE

from .test_processes import COMMAND, SETTINGS, python, server, variables

__all__ = ["COMMAND", "SETTINGS", "python", "server", "variables"]

SETUP = "import django; django.setup()\nfrom django.contrib.auth.models import User\n"


@pytest.fixture
async def ann(python, postgres: Cluster):
    """A user, with tables for users and sessions; gives the cookies of two sessions."""
    done = await python("-m", "django", "migrate", "-v0")
    assert done[0] == 0, done
    code = (
        SETUP + "from django.test import Client; import json\n"
        "User.objects.all().delete()\n"
        "ann, keys = User.objects.create_user('ann', password='x'), []\n"
        "for _ in range(2):\n"
        "    client = Client(); client.force_login(ann); keys.append(client.session.session_key)\n"
        "print(json.dumps(keys))\n"
    )
    done = await python("-c", code)
    assert done[0] == 0, done
    return [{"sessionid": key} for key in json.loads(done[1])]


@pytest.fixture
async def watched(server, ann):
    """For each session: a WebSocket in each of the two workers."""
    async with AsyncExitStack() as stack:
        opened = []
        for cookies in ann:
            found: dict[int, aiohttp.ClientWebSocketResponse] = {}
            while len(found) < 2:
                client = await stack.enter_async_context(server.client())
                headers = {"Cookie": f"sessionid={cookies['sessionid']}"}
                ws = await stack.enter_async_context(
                    client.ws_connect("/watched/", headers=headers)
                )
                found.setdefault((await ws.receive_json(timeout=DEADLINE))["pid"], ws)
            opened.append(list(found.values()))
        yield opened


async def ended(ws):
    message = await ws.receive(timeout=DEADLINE)
    assert message.type is aiohttp.WSMsgType.CLOSE, message
    return message.data, message.extra


async def test_a_logout_in_one_worker_closes_those_of_both(server, ann, watched):
    first, second = watched
    async with server.client() as client:
        headers = {"Cookie": f"sessionid={ann[0]['sessionid']}"}
        async with client.get("/logout/", headers=headers) as response:
            assert response.status == 200
    for ws in first:
        assert await ended(ws) == (4401, "logged out")
    for ws in second:
        await ws.ping()
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.2)


CHANGES = {
    "password changed": "ann = User.objects.get(); ann.set_password('y'); ann.save()",
    "deactivated": "ann = User.objects.get(); ann.is_active = False; ann.save()",
    "deleted": "User.objects.all().delete()",
}


@pytest.mark.parametrize("reason", CHANGES)
async def test_a_change_in_a_process_without_a_server_closes_them(python, watched, reason):
    done = await python("-c", SETUP + CHANGES[reason])
    assert done[0] == 0, done
    for ws in [*watched[0], *watched[1]]:
        assert await ended(ws) == (4401, reason)


async def test_what_is_rolled_back_closes_nothing_and_a_login_neither(python, watched):
    code = (
        "from django.db import transaction\n"
        "with transaction.atomic():\n"
        "    ann = User.objects.get(); ann.is_active = False; ann.save()\n"
        "    transaction.set_rollback(True)\n"
        "from django.test import Client; Client().force_login(User.objects.get())\n"
    )
    done = await python("-c", SETUP + code)
    assert done[0] == 0, done
    done = await python("-c", SETUP + "User.objects.get().delete()")
    for ws in [*watched[0], *watched[1]]:
        assert await ended(ws) == (4401, "deleted")
