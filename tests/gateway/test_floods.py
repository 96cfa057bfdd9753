"""Too much of something, too slowly: the connection ends, and nobody else notices."""

import asyncio
import itertools
import re

import pytest

from tests.gateway.client import Client
from tests.gateway.ground import ground
from tests.gateway.hostile import Sent, Witness, chunked, exchange, get, post
from tests.support.waiting import DEADLINE

# In bytes; more than all the buffers in between hold.
MUCH = 20_000_000
PIECE = 50_000


async def send_much(client, more):
    for _ in range(MUCH // PIECE):
        await client.send(more * (PIECE // len(more)))


@pytest.fixture
async def attacked(serve):
    async with ground(serve) as attacked:
        yield attacked


class TestFlood:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(get(b"".join(b"X-%d: 1\r\n" % n for n in range(200))), id="fields"),
            pytest.param(get(b"X-A: " + b"a" * 20_000 + b"\r\n"), id="a long value"),
            pytest.param(get(b"a" * 20_000 + b": 1\r\n"), id="a long name"),
            pytest.param(get(target=b"/" + b"a" * 20_000), id="a long target"),
            pytest.param(get(method=b"A" * 20_000), id="a long method"),
            pytest.param(
                chunked(b"0\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n"),
                id="trailers",
            ),
            pytest.param(chunked(b"0\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n"), id="a long trailer"),
            pytest.param(chunked(b"f" * 20_000 + b"\r\n"), id="a long size"),
        ],
    )
    async def test_of_what_has_an_end(self, attacked, data):
        _, received, _ = await exchange(attacked.port, Sent([data]))
        assert re.match(rb"HTTP/1\.[01] 400 ", received)
        assert received.count(b"\r\n\r\n") == 1
        await attacked.attack()  # nobody else: what has become of this one?

    @pytest.mark.parametrize(
        ("begin", "more"),
        [
            pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\n", b"X-A: 1\r\n", id="fields"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX-A: ", b"a", id="a value"),
            pytest.param(b"GET / HTTP/1.1\r\n", b"a", id="a name"),
            pytest.param(b"GET /", b"a", id="a target"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX-A: 1", b"\r", id="carriage returns"),
            pytest.param(chunked(b"0\r\n"), b"X-A: 1\r\n", id="trailers"),
        ],
    )
    async def test_without_an_end(self, attacked, begin, more):
        async with Client("127.0.0.1", attacked.port) as client:
            await client.send(begin)
            with pytest.raises(ConnectionError, match=r"(?i)reset|lost|broken"):
                await send_much(client, more)
        await attacked.attack()  # nobody else: what has become of this one?

    async def test_of_blank_lines(self, attacked):
        [outcome] = await attacked.attack(Sent([b"\r\n" * PIECE, get(b"Connection: close\r\n")]))
        assert len(outcome.seen) == 1

    async def test_of_small_chunks(self, attacked):
        [outcome] = await attacked.attack(Sent([chunked(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")]))
        assert outcome.seen[0].body == b"a" * 100_000

    async def test_of_requests(self, attacked):
        """Pipelined far beyond what aiohttp queues."""
        many = get() * 300
        [outcome] = await attacked.attack(Sent([many, get(b"Connection: close\r\n")]))
        assert len(outcome.seen) == 301


class TestSlow:
    @pytest.fixture
    async def server(self, serve):
        # The time for which a connection may be idle is also that for the head of a request.
        return await serve(Witness(), runner_options={"keepalive_timeout": 0.5})

    @pytest.mark.parametrize(
        ("beginning", "piece"),
        [
            pytest.param([b"GET / HTTP/1.1\r\n"], b"X-A: 1\r\n", id="fields"),
            pytest.param([b"GET / HTTP/1.1\r\nX-A: "], b"a", id="a value"),
            pytest.param([b"GET /"], b"a", id="a target"),
            pytest.param([], b"\r\n", id="blank lines"),
            pytest.param([], b"", id="silence"),
        ],
    )
    async def test_head_is_cut_off(self, server, beginning, piece):
        """However steadily it comes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(DEADLINE):
            for part in itertools.chain(beginning, itertools.repeat(piece)):
                writer.write(part)
                await asyncio.wait([reading], timeout=0.05)
                if reading.done():
                    break
            try:
                assert await reading == b""
            except ConnectionError:
                pass
        writer.close()

    async def test_second_head_is_cut_off(self, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"Content-Length: 1\r\n", b"x") + b"GET / HT")
        async with asyncio.timeout(DEADLINE):
            assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 1
        writer.close()
