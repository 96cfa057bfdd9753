"""Who has which room open, in all processes of the site."""

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiodjango.broadcast import apublish, subscribe

CHANNEL = "presence"
BEAT = 3.0  # seconds after which a process tells everything again
MOMENT = 0.1  # seconds in which changes are gathered: after a restart, everybody comes at once

Names = Mapping[str, int]  # connections by name; guests, who have none, are ""


@dataclass
class Other:
    """What is known of another process."""

    rooms: dict[str, Names] = field(default_factory=dict)
    heard: float = 0.0


class Presence:
    """Connections per room and name. A person with two tabs is still one person.

    Each process counts its own connections and tells the others. Nobody says goodbye for a process
    that was killed: one that has not been heard for three beats is gone, and its people with it.

    on_change: awaited with the name of each room where something has changed. on_loss: awaited when
    a process is gone without a goodbye. beat: seconds.
    """

    def __init__(
        self,
        on_change: Callable[[str], Awaitable[None]],
        on_loss: Callable[[], Awaitable[None]],
        beat: float = BEAT,
    ) -> None:
        self._on_change = on_change
        self._on_loss = on_loss
        self._beat = beat
        self._rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._others: defaultdict[str, Other] = defaultdict(Other)
        self._changed: set[str] = set()
        self._stirred = asyncio.Event()

    # ---- For the views ----

    def enter(self, room: str, name: str) -> None:
        """Note a connection; guests enter as ""."""
        self._rooms[room][name] += 1
        self._change(room)

    def leave(self, room: str, name: str) -> None:
        names = self._rooms[room]
        names[name] -= 1
        if not names[name]:
            del names[name]
        if not names:
            del self._rooms[room]
        self._change(room)

    def rooms(self) -> list[str]:
        return sorted({room for rooms in self._everywhere() for room in rooms})

    def people(self, room: str) -> list[str]:
        names = {name for rooms in self._everywhere() for name in rooms.get(room, ())}
        return sorted(names - {""})

    def guests(self, room: str) -> int:
        return sum(rooms[room].get("", 0) for rooms in self._everywhere() if room in rooms)

    def _everywhere(self) -> Iterator[Mapping[str, Names]]:
        yield self._rooms
        for other in self._others.values():
            yield other.rooms

    def _change(self, room: str) -> None:
        self._changed.add(room)
        self._stirred.set()

    # ---- Among the processes ----

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep in touch with the other processes while the server runs."""
        name = uuid.uuid4().hex
        tasks = [
            asyncio.create_task(work(name))
            for work in (self._hear, self._tell_changes, self._tell_again)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._tell(name, "goodbye", ())

    async def _tell(self, name: str, kind: str, rooms: Iterable[str]) -> None:
        """Tell the others who is in these rooms. But for a "change", that is all there is."""
        part = {room: self._rooms.get(room, {}) for room in rooms}
        news = {"from": name, "kind": kind, "rooms": part}
        await apublish(CHANNEL, news)

    async def _tell_changes(self, name: str) -> None:
        while True:
            await self._stirred.wait()
            await asyncio.sleep(MOMENT)
            self._stirred.clear()
            changed, self._changed = self._changed, set()
            await self._tell(name, "change", changed)
            for room in changed:
                await self._on_change(room)

    async def _tell_again(self, name: str) -> None:
        """So that what got lost does not stay lost. And forget those who do so no more."""
        while True:
            await asyncio.sleep(self._beat)
            await self._tell(name, "beat", self._rooms)
            silent = time.monotonic() - 3 * self._beat
            lost = [sender for sender, other in self._others.items() if other.heard < silent]
            for sender in lost:
                await self._forget(sender)
            if lost:
                await self._on_loss()

    async def _hear(self, name: str) -> None:
        while True:
            async with subscribe(CHANNEL) as events:
                await self._tell(name, "hello", self._rooms)
                async for news in events:
                    sender, kind = news["from"], news["kind"]
                    if sender == name:
                        continue
                    if kind == "goodbye":
                        await self._forget(sender)
                    else:
                        await self._learn(sender, news["rooms"], complete=kind != "change")
                    if kind == "hello":
                        await self._tell(name, "beat", self._rooms)
            if events.missed is None:
                return  # the server shuts down

    async def _learn(self, sender: str, rooms: dict[str, Names], *, complete: bool) -> None:
        other = self._others[sender]
        other.heard = time.monotonic()
        before = other.rooms
        after = rooms if complete else before | rooms
        other.rooms = {room: names for room, names in after.items() if names}
        for room in before.keys() | other.rooms.keys():
            if before.get(room) != other.rooms.get(room):
                await self._on_change(room)

    async def _forget(self, sender: str) -> None:
        if other := self._others.pop(sender, None):
            for room in other.rooms:
                await self._on_change(room)
