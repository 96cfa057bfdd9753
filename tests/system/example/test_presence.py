"""Presence: several processes' worth of it in one loop."""

from collections.abc import AsyncIterator

import pytest

from aiodjango.broadcast.process import close_hub, hub_of_this_loop
from example.chat.presence import Presence
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def broadcast() -> AsyncIterator[None]:
    """Events reach all who subscribe in this loop, until the test ends."""
    hub_of_this_loop()
    yield
    await close_hub()


class Process:
    """Presence as one process has it."""

    def __init__(self, beat: float) -> None:
        self.changed: list[str] = []
        self.losses = 0
        self.presence = Presence(self.change, self.lose, beat)

    async def change(self, room: str) -> None:
        self.changed.append(room)

    async def lose(self) -> None:
        self.losses += 1

    def sees(self, people: list[str], guests: int = 0) -> bool:
        return (self.presence.people("room"), self.presence.guests("room")) == (people, guests)


async def test_processes_add_up():
    one, other, late = (Process(beat=60) for _ in range(3))
    async with one.presence.running(), other.presence.running():
        one.presence.enter("room", "mira")
        one.presence.enter("room", "")
        other.presence.enter("room", "mira")
        other.presence.enter("room", "jun")
        other.presence.enter("room", "")
        for process in one, other:
            await until(lambda process=process: process.sees(["jun", "mira"], 2))
            assert process.presence.rooms() == ["room"]
            assert "room" in process.changed
        async with late.presence.running():  # learns it at once, not with the next beat
            await until(lambda: late.sees(["jun", "mira"], 2))
        one.presence.leave("room", "mira")
        other.presence.leave("room", "")
        for process in one, other:
            await until(lambda process=process: process.sees(["jun", "mira"], 1))


async def test_who_says_goodbye_is_gone_at_once():
    stays, goes = (Process(beat=60) for _ in range(2))
    async with stays.presence.running():
        async with goes.presence.running():
            goes.presence.enter("room", "mira")
            await until(lambda: stays.sees(["mira"]))
        await until(lambda: stays.sees([]))
    assert stays.losses == 0


async def test_who_falls_silent_is_gone_after_three_beats():
    stays, falls_silent = Process(beat=0.1), Process(beat=60)
    async with stays.presence.running(), falls_silent.presence.running():
        falls_silent.presence.enter("room", "mira")
        await until(lambda: stays.sees(["mira"]))
        await until(lambda: stays.sees([]))
        assert stays.losses == 1
        assert falls_silent.losses == 0


async def test_what_got_lost_comes_with_the_next_beat():
    one, other = (Process(beat=0.1) for _ in range(2))
    one.presence.enter("room", "mira")
    async with one.presence.running(), other.presence.running():
        await until(lambda: other.sees(["mira"]))
        hub_of_this_loop()._end_all(hub_of_this_loop().open_subscriptions(), "for the test")
        one.presence.enter("room", "jun")
        await until(lambda: other.sees(["jun", "mira"]))
