"""The connections to the broker are closed at any moment, whatever they are busy with."""

import asyncio

import pytest
from aiohttp import web

from aiodjango.broadcast import apublish, subscribe
from aiodjango.broadcast.backend import Backend
from aiodjango.broadcast.process import close_hub, hub_of_this_loop
from tests.support.waiting import DEADLINE

from .conftest import with_backends


class Heedless(Backend):
    """Its client loses a request to end, as `asyncio.wait_for()` of Python 3.11 may do."""

    heedless: str

    def __init__(self, location: str = "") -> None:
        super().__init__(location)
        self.reached = asyncio.Event()

    async def _wait(self, name):
        self.reached.set()
        if name != self.heedless:
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async def listen(self, receiver):
        receiver.confirm("")
        await self._wait("listen")
        await asyncio.Event().wait()

    async def subscribe(self, channels):
        await self._wait("subscribe")

    async def unsubscribe(self, channels):
        pass

    async def send(self, messages):
        await self._wait("send")


@pytest.mark.parametrize("step", ["listen", "subscribe", "send"])
async def test_a_lost_cancellation(step, settings, monkeypatch):
    settings.AIO_BROADCAST = {"BACKEND": f"{__name__}.Heedless"}
    monkeypatch.setattr(Heedless, "heedless", step, raising=False)
    monkeypatch.setattr("aiodjango.broadcast.process.FLUSH_TIMEOUT", 0.1)
    hub = hub_of_this_loop()
    hub.applications.add(web.Application())  # its messages are sent by this loop
    subscribing = asyncio.create_task(subscribe("channel").__aenter__())
    await apublish("channel", "event")
    async with asyncio.timeout(DEADLINE):
        while not (hub._link._both and hub._backend.reached.is_set()):
            await asyncio.sleep(0)
        await close_hub()
        await subscribing


@with_backends("redis", "postgres")
@pytest.mark.parametrize("is_entered", [True, False], ids=["unsubscribing", "subscribing"])
async def test_at_any_moment(broker, is_entered):
    """On Python 3.11, with Redis, every second of these closings never ended."""
    async with asyncio.timeout(DEADLINE):
        for steps in range(30):
            events = subscribe("channel")
            entering = asyncio.create_task(events.__aenter__())
            if is_entered:
                await entering
                await events.__aexit__(None, None, None)
            for _ in range(steps):
                await asyncio.sleep(0)
            await close_hub()
            await entering
