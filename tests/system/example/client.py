"""What a browser does, in words of aiohttp's client."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp

from tests.system.example.server import DEADLINE

Client = aiohttp.ClientSession
Socket = aiohttp.ClientWebSocketResponse


async def csrf_token(client: Client, path: str) -> str:
    """Load a page that has a form; return the token in its cookie."""
    async with client.get(path) as page:
        assert page.status == 200, (path, page.status, await page.text())
    return client.cookie_jar.filter_cookies(page.url)["csrftoken"].value


async def post_form(
    client: Client, path: str, *, page: str | None = None, **fields: str
) -> aiohttp.ClientResponse:
    """Post the form of a page (unless given, the one at the same path), as a browser does."""
    fields["csrfmiddlewaretoken"] = await csrf_token(client, page or path)
    async with client.post(path, data=fields, allow_redirects=False) as answer:
        await answer.read()
    return answer


async def log_in(client: Client, prefix: str = "") -> None:
    answer = await post_form(client, f"{prefix}/login/", username="admin", password="admin")
    assert answer.status == 302


async def say(socket: Socket, text: str, ref: str | None = None) -> str:
    """Send a message; return the mark by which its answer is known."""
    ref = ref or str(uuid.uuid4())
    await socket.send_json({"type": "message", "text": text, "ref": ref})
    return ref


async def hear(socket: Socket, kind: str, **expected: Any) -> dict[str, Any]:
    """Wait for the first event of a kind that holds what is expected, past all others."""
    async with asyncio.timeout(DEADLINE):
        while True:
            event: dict[str, Any] = await socket.receive_json()
            if event["type"] == kind and expected.items() <= event.items():
                return event


async def next_event(feed: aiohttp.ClientResponse) -> tuple[dict[str, Any], int | None]:
    """Read one server-sent event: its data and its id."""
    data, mark = None, None
    async with asyncio.timeout(DEADLINE):
        while True:
            line = (await feed.content.readline()).decode()
            assert line, "the feed ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "data":
                data = json.loads(value)
            elif name == "id":
                mark = int(value)
            elif not line.strip() and data is not None:
                return data, mark


async def feed_until(
    feed: aiohttp.ClientResponse, kind: str, **expected: Any
) -> tuple[dict[str, Any], int | None]:
    """Read the feed up to the first event of a kind that holds what is expected."""
    while True:
        event, mark = await next_event(feed)
        if event["type"] == kind and expected.items() <= event.items():
            return event, mark
