"""The coroutine half: the history, the WebSocket and the feed."""

import asyncio
import base64
import json
import os
import socket as sockets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from tests.system.example.client import Client, feed_until, hear, log_in, post_form, say
from tests.system.example.conftest import serve
from tests.system.example.server import DEADLINE, GUNICORN, Server

REF = "5e1f1c52-6f3a-4b0e-9a53-0b7c4b8b2f11"

# ---- The history ----


async def get_page(client: Client, room: str, **marks: int) -> dict[str, Any]:
    async with client.get(f"/rooms/{room}/history/", params=marks) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_the_history_is_walked_in_both_directions(admin: Client):
    await post_form(admin, "/new/", name="Long story")
    async with admin.ws_connect("/rooms/long-story/socket/") as socket:
        for number in range(120):
            await say(socket, f"Sentence {number}")
            await hear(socket, "message", text=f"Sentence {number}")
    told = [f"Sentence {number}" for number in range(120)]

    page = await get_page(admin, "long-story")
    assert [message["text"] for message in page["messages"]] == told[-50:]
    messages = page["messages"]
    while page["more"]:
        page = await get_page(admin, "long-story", before=messages[0]["id"])
        messages = page["messages"] + messages
    assert [message["text"] for message in messages] == told

    page = await get_page(admin, "long-story", after=messages[9]["id"])
    texts = [message["text"] for message in page["messages"]]
    while page["more"]:
        page = await get_page(admin, "long-story", after=page["messages"][-1]["id"])
        texts += [message["text"] for message in page["messages"]]
    assert texts == told[10:]


async def test_the_history_of_one_room_only(guest: Client):
    page = await get_page(guest, "garden")
    assert page["more"] is False
    assert {message["room"] for message in page["messages"]} == {"garden"}
    assert {message["author"] for message in page["messages"]} == {"jun", "tomas"}


async def test_a_mark_that_is_no_id(guest: Client):
    async with guest.get("/rooms/lobby/history/?before=yesterday") as answer:
        assert (answer.status, await answer.text()) == (400, "before and after are message ids.")


@pytest.mark.parametrize("end", ["", "history/", "socket/"])
async def test_a_room_that_is_not_there(guest: Client, end: str):
    async with guest.get(f"/rooms/nowhere/{end}") as answer:
        assert answer.status == 404


# ---- The WebSocket ----


async def test_what_is_said_is_heard_by_all(admin: Client, guest: Client):
    async with (
        admin.ws_connect("/rooms/lobby/socket/") as speaker,
        guest.ws_connect("/rooms/lobby/socket/") as listener,
        guest.ws_connect("/rooms/garden/socket/") as elsewhere,
    ):
        ref = await say(speaker, "  <b>Hello</b> & welcome  ")
        heard = await hear(listener, "message")
        assert heard == await hear(speaker, "message")
        assert (heard["author"], heard["text"]) == ("admin", "<b>Hello</b> & welcome")
        assert (heard["room"], heard["ref"]) == ("lobby", ref)
        await speaker.send_json({"type": "typing"})
        assert await hear(listener, "typing") == {"type": "typing", "user": "admin"}
        # Nothing of that came to the other room: its next event is what a visitor there causes.
        await hear(elsewhere, "presence")
        async with admin.ws_connect("/rooms/garden/socket/"):
            event = await elsewhere.receive_json(timeout=DEADLINE)
            assert (event["type"], event["people"]) == ("presence", ["admin"])


async def test_a_guest_may_listen_but_not_speak(guest: Client):
    async with guest.ws_connect("/rooms/lobby/socket/") as socket:
        ref = await say(socket, "Let me in")
        assert await hear(socket, "error") == {
            "type": "error",
            "text": "Log in to take part.",
            "ref": ref,
        }
    page = await get_page(guest, "lobby")
    assert "Let me in" not in [message["text"] for message in page["messages"]]


async def test_presence_counts_people_and_not_tabs(admin: Client, guest: Client):
    path = "/rooms/python/socket/"
    async with guest.ws_connect(path) as watcher:
        await hear(watcher, "presence", people=[], guests=1)
        async with admin.ws_connect(path), admin.ws_connect(path) as second:
            await hear(second, "presence", people=["admin"], guests=1)
            await second.close()
            await hear(watcher, "presence", people=["admin"], guests=1)
        await hear(watcher, "presence", people=[], guests=1)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1"])
async def test_pages_of_other_sites_get_no_socket(admin: Client, origin: str):
    with pytest.raises(WSServerHandshakeError, match="403"):
        await admin.ws_connect("/rooms/lobby/socket/", headers={"Origin": origin})


async def test_pages_of_the_site_get_one(site: Server, guest: Client):
    async with guest.ws_connect("/rooms/lobby/socket/", headers={"Origin": site.url}) as socket:
        await hear(socket, "presence")


async def test_the_same_message_sent_twice_is_said_once(admin: Client):
    async with admin.ws_connect("/rooms/lobby/socket/") as socket:
        ref = await say(socket, "Only once")
        first = await hear(socket, "message", ref=ref)
        await say(socket, "Only once", ref)
        assert await hear(socket, "message", ref=ref) == first
    page = await get_page(admin, "lobby", after=first["id"] - 1)
    assert [message["text"] for message in page["messages"]] == ["Only once"]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("[]", "That was not understood."),
        ('{"text": "no type"}', "That was not understood."),
        ('{"type": "message", "text": "no ref"}', "This field is required."),
        ('{"type": "message", "text": "x", "ref": "y"}', "Enter a valid UUID."),
        (
            json.dumps({"type": "message", "text": " \n ", "ref": REF}),
            "This field is required.",
        ),
        (
            json.dumps({"type": "message", "text": "a" * 2001, "ref": REF}),
            "Ensure this value has at most 2000 characters (it has 2001).",
        ),
    ],
)
async def test_nonsense_is_answered_and_the_connection_stays(
    admin: Client, sent: str, problem: str
):
    async with admin.ws_connect("/rooms/lobby/socket/") as socket:
        await socket.send_str(sent)
        assert (await hear(socket, "error"))["text"] == problem
        ref = await say(socket, "Still here")
        await hear(socket, "message", ref=ref)


async def test_who_stops_reading_is_let_go_and_holds_up_nobody(site: Server, admin: Client):
    """A browser that reads nothing, and one in the same room that reads all."""
    loop = asyncio.get_running_loop()
    with sockets.socket() as stalled:
        stalled.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        stalled.setblocking(False)
        await loop.sock_connect(stalled, ("127.0.0.1", site.port))
        await loop.sock_sendall(stalled, handshake(site, "/rooms/lobby/socket/"))
        assert b" 101 " in await loop.sock_recv(stalled, 64)
        async with admin.ws_connect("/rooms/lobby/socket/") as socket:
            await hear(socket, "presence", guests=1)
            # 24 kB each in JSON: soon the buffers in between are full, and then the backlog.
            for _ in range(500):
                ref = await say(socket, "🙂" * 1000)
                await hear(socket, "message", ref=ref)
            await hear(socket, "presence", guests=0)


def handshake(site: Server, path: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


# ---- The feed ----


async def test_the_feed_tells_of_every_room(admin: Client, guest: Client):
    async with guest.get("/feed/") as feed:
        assert feed.content_type == "text/event-stream"
        assert feed.headers["Cache-Control"] == "no-cache"
        async with admin.ws_connect("/rooms/garden/socket/") as socket:
            await feed_until(feed, "presence", room="garden", people=["admin"])
            ref = await say(socket, "One line\nand another")
            message, mark = await feed_until(feed, "message", ref=ref)
            assert message == await hear(socket, "message", ref=ref)
            assert mark == message["id"]
        await feed_until(feed, "presence", room="garden", people=[])


async def test_the_feed_begins_with_who_is_there(admin: Client, guest: Client):
    async with admin.ws_connect("/rooms/python/socket/") as socket:
        await hear(socket, "presence")
        async with guest.get("/feed/") as feed:
            await feed_until(feed, "presence", room="python", people=["admin"])


@pytest.mark.parametrize("way", ["header", "query"])
async def test_the_feed_catches_up(admin: Client, guest: Client, way: str):
    async with admin.ws_connect("/rooms/garden/socket/") as socket:
        said = []
        for number in range(3):
            ref = await say(socket, f"Missed {number}")
            said.append(await hear(socket, "message", ref=ref))
        mark = str(said[0]["id"])
        headers = {"Last-Event-ID": mark} if way == "header" else {}
        params = {"after": mark} if way == "query" else {}
        async with guest.get("/feed/", headers=headers, params=params) as feed:
            for expected in said[1:]:
                message, seen = await feed_until(feed, "message")
                assert (message, seen) == (expected, expected["id"])


# ---- The end ----


async def test_a_server_that_stops_says_goodbye(
    demo_database: Path, tmp_path: Path, make_client: Callable[[Server], Client]
):
    """Open WebSockets and feeds are closed, and the server does not wait for them."""
    with serve(GUNICORN, demo_database, tmp_path) as server:
        client = make_client(server)
        await log_in(client)
        socket = await client.ws_connect("/rooms/lobby/socket/")
        await hear(socket, "presence")
        feed = await client.get("/feed/")
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        while (message := await socket.receive(DEADLINE)).type is WSMsgType.TEXT:
            pass
        assert (message.type, socket.close_code) == (WSMsgType.CLOSE, 1001)
        async with asyncio.timeout(DEADLINE):
            await feed.read()  # ends without an error: the last chunk came
        await stopping
