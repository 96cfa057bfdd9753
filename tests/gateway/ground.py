"""A server under attack, and a client who would like to be served all the same."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from aiodjango.gateway.malformed import client_faults_filtered
from tests.gateway.client import Client
from tests.gateway.hostile import (
    DEADLINE,
    Complaints,
    Outcome,
    Sent,
    Witness,
    exchange,
    judge,
    listening_for_complaints,
    settled,
)


class Ground:
    """A server (with `runner` and `gateway`, as the fixture `serve` starts them).

    friend: a connection that nobody else uses.
    witness: the server's application; None for one that keeps nothing.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        gateway: Any,
        complaints: Complaints,
        friend: Client,
        witness: Witness | None = None,
    ) -> None:
        self._runner, self._gateway = runner, gateway
        self._friend = friend
        self._witness = witness
        self.complaints = complaints
        self.cases = 0
        # Cases of which the application saw something.
        self.reached = 0

    @property
    def port(self) -> int:
        return self._runner.addresses[0][1]

    async def attack(self, *all_sent: Sent, is_refused: bool = False) -> list[Outcome]:
        """Send all at once, each by a connection of its own; judge what came of it.

        is_refused: whether the server is sure to close, however a client may read what it sends.
        """
        if not is_refused:
            all_sent = tuple(map(settled, all_sent))
        excused = self.complaints.excused
        exchanged = await asyncio.gather(*(exchange(self.port, sent) for sent in all_sent))
        await self._settle()
        seen = self._witness.take_all() if self._witness else {}
        await self.recover()
        outcomes = []
        for sent, (port, received, is_whole) in zip(all_sent, exchanged, strict=True):
            is_excused = self.complaints.excused > excused
            outcome = Outcome(seen.get(port, []), received, is_whole and not is_excused)
            if self._witness:
                judge(sent, outcome)
            outcomes.append(outcome)
            self.cases += 1
            self.reached += bool(outcome.seen)
        return outcomes

    async def recover(self) -> None:
        """A friend is served as ever, and there is nothing to complain about."""
        answer = await self._friend.request("GET", "/friend")
        if self._witness:
            self._witness.take_all()
        self.complaints.raise_if_any()
        assert answer.status == 200

    async def _settle(self) -> None:
        """Wait until nothing is left of anybody."""
        try:
            async with asyncio.timeout(DEADLINE):
                while self._gateway.busy or self._gateway.pending or self._connections():
                    await asyncio.sleep(0.001)
        except TimeoutError:
            left = self._gateway.busy, self._gateway.pending, self._connections()
            raise AssertionError(f"busy, pending and connections are still {left}") from None

    def raise_if_anything_was_lost(self) -> None:
        """Errors that nobody has asked for are reported when they are collected: now."""
        gc.collect()
        self.complaints.raise_if_any()

    def _connections(self) -> int:
        """How many there are beside the friend's."""
        return sum(each.transport is not None for each in self._runner.server.connections) - 1


@asynccontextmanager
async def ground(serve: Any, **runner_options: Any) -> AsyncIterator[Ground]:
    """A gateway before a witness; all that it complains about fails the test."""
    witness = Witness()
    with listening_for_complaints() as complaints, client_faults_filtered():
        # What is waited for in vain is waited for shortly.
        options = {"lingering_time": 0.01, "access_log": web.access_logger, **runner_options}
        server = await serve(witness, runner_options=options)
        async with server.client() as friend:
            yield Ground(server.runner, server.gateway, complaints, friend, witness)
        complaints.raise_if_any()
