"""Somebody in the lobby, through aiohttp's client: it does what the page's script does."""

import asyncio
import uuid
from typing import Any, Self

import aiohttp

from tests.system.example.client import Client, Socket
from tests.system.example.server import DEADLINE

ROOM = "/rooms/lobby"
FIRST_DELAY = 0.1  # seconds, doubled with every failure


class Visitor:
    """Comes back when its connection is lost, catches up, and says again what got no answer.

    heard: texts by id. connections: how many there were. people, guests: who is here.
    """

    def __init__(self, client: Client, *, comes_back: bool = True) -> None:
        self._client = client
        self._comes_back = comes_back
        self._socket: Socket | None = None
        self._unsent: dict[str, str] = {}
        self._news = asyncio.Condition()
        self.heard: dict[int, str] = {}
        self.connections = 0
        self.people: list[str] = []
        self.guests = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay())
        await self.until(lambda: self.people or self.guests)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until(self, condition: Any) -> None:
        """Wait until the condition holds, which may change with everything that is heard."""
        async with asyncio.timeout(DEADLINE), self._news:
            await self._news.wait_for(lambda: self._task.done() or condition())
        if self._task.done():
            self._task.result()

    async def say(self, text: str) -> None:
        """Say something, and wait until the server has confirmed it."""
        ref = str(uuid.uuid4())
        self._unsent[ref] = text
        if self._socket is not None:
            try:
                await self._send(self._socket, ref)
            except ConnectionResetError:
                pass  # `_stay` notices, and sends it again
        await self.until(lambda: ref not in self._unsent)

    async def _stay(self) -> None:
        failures = 0
        while self._comes_back or not self.connections:
            try:
                async with self._client.ws_connect(f"{ROOM}/socket/") as socket:
                    for ref in list(self._unsent):
                        await self._send(socket, ref)
                    self._socket = socket
                    await self._catch_up()
                    self.connections += 1
                    failures = 0
                    async for message in socket:
                        await self._hear(message.json())
            except (aiohttp.ClientError, ConnectionResetError):
                pass
            self._socket = None
            await asyncio.sleep(FIRST_DELAY * 2**failures)
            failures = min(failures + 1, 5)

    async def _send(self, socket: Socket, ref: str) -> None:
        await socket.send_json({"type": "message", "ref": ref, "text": self._unsent[ref]})

    async def _catch_up(self) -> None:
        after = max(0, max(self.heard, default=0) - 100)
        more = True
        while more:
            query = {"after": after}
            async with self._client.get(f"{ROOM}/history/", params=query) as answer:
                answer.raise_for_status()
                page = await answer.json()
            for message in page["messages"]:
                await self._hear(message)
                after = message["id"]
            more = page["more"]

    async def _hear(self, event: dict[str, Any]) -> None:
        async with self._news:
            if event["type"] == "message":
                self.heard[event["id"]] = event["text"]
                self._unsent.pop(event["ref"], None)
            elif event["type"] == "presence":
                self.people, self.guests = event["people"], event["guests"]
            elif event["type"] == "error":
                raise RuntimeError(event["text"])
            self._news.notify_all()
