"""Two hosts of two workers behind nginx: what is said at one is heard at all, whatever breaks."""

import asyncio
import io
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.conftest import require
from tests.support.browser import chromium
from tests.support.postgres import Cluster
from tests.support.server import is_alive, until
from tests.system.example.client import Client, csrf_token, feed_until, log_in
from tests.system.example.hosts import Deployment, Host, running_deployment
from tests.system.example.server import DEADLINE
from tests.system.example.visitor import Visitor

MAX_BODY = 10 * 1024**2


@pytest.fixture(scope="module", params=["redis", "postgres"])
def deployment(
    request: pytest.FixtureRequest, postgres: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Two hosts, whose processes hear each other by Redis, or by PostgreSQL alone."""
    for module in "gunicorn", "redis":
        require(module=module)
    require(program="nginx")
    redis = require(program="redis-server") if request.param == "redis" else None
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc, to see which worker has a connection")
    postgres.query("CREATE DATABASE chat")
    url = f"postgresql://postgres@/chat?host={postgres.folder}"
    try:
        with running_deployment(tmp_path_factory.mktemp("hosts"), url, redis) as deployment:
            yield deployment
    finally:
        postgres.query("DROP DATABASE chat WITH (FORCE)")


@pytest.fixture
async def clients() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def browserlike(deployment: Deployment, clients: AsyncExitStack) -> Client:
    """A client that comes by https."""
    connector = aiohttp.TCPConnector(ssl=deployment.tls)
    return await clients.enter_async_context(Client(deployment.url, connector=connector))


async def make_client(deployment: Deployment, clients: AsyncExitStack) -> Client:
    client = Client(
        deployment.plain,
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=URL(deployment.plain)),
        timeout=aiohttp.ClientTimeout(DEADLINE),
    )
    return await clients.enter_async_context(client)


@pytest.fixture
async def guest(deployment: Deployment, clients: AsyncExitStack) -> Client:
    return await make_client(deployment, clients)


@pytest.fixture
async def admin(deployment: Deployment, clients: AsyncExitStack) -> Client:
    client = await make_client(deployment, clients)
    await log_in(client)
    return client


# ---- Where a connection is ----


def connections(worker: int, host: Host) -> int:
    """How many connections a worker has to its host's port."""
    try:
        files = {os.readlink(entry) for entry in Path(f"/proc/{worker}/fd").iterdir()}
    except FileNotFoundError:
        return 0
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[3] == "01" and row[1].endswith(f":{host.port:04X}")]
    return len(files.intersection(f"socket:[{row[9]}]" for row in established))


def connections_by_worker(deployment: Deployment) -> Counter[int]:
    return Counter(
        {pid: connections(pid, host) for host in deployment.hosts for pid in host.workers()}
    )


def host_of(deployment: Deployment, worker: int) -> Host:
    (host,) = [host for host in deployment.hosts if worker in host.workers()]
    return host


@asynccontextmanager
async def visitor_at(
    deployment: Deployment, client: Client, worker: int, *, comes_back: bool = True
) -> AsyncIterator[Visitor]:
    """A visitor whose connection is at this worker.

    Which worker of a host accepts a connection is chance, so the others are stopped meanwhile. And
    nginx gives every second connection to the other host.
    """
    host = host_of(deployment, worker)
    others = host.workers() - {worker}
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with AsyncExitStack() as stack, asyncio.timeout(DEADLINE):
            before = connections(worker, host)
            while connections(worker, host) == before:
                await stack.aclose()
                # A visitor makes two requests. Without a third it would be the same host again,
                # and if always with it, maybe too.
                if random.random() < 0.5:
                    await (await client.get("/rooms/lobby/history/")).read()
                visitor = Visitor(client, comes_back=comes_back)
                await stack.enter_async_context(visitor)
            kept = stack.pop_all()
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)
    async with kept:
        yield visitor


@asynccontextmanager
async def everywhere(deployment: Deployment, client: Client) -> AsyncIterator[dict[int, Visitor]]:
    """A visitor at every worker, by its process id."""
    workers = [pid for host in deployment.hosts for pid in host.workers()]
    async with AsyncExitStack() as stack:
        yield {
            worker: await stack.enter_async_context(visitor_at(deployment, client, worker))
            for worker in workers
        }


# ---- When all is well ----


async def test_what_is_said_at_one_worker_is_heard_at_all(
    deployment: Deployment, admin: Client, guest: Client
):
    async with everywhere(deployment, admin) as visitors, guest.get("/feed/") as feed:
        said = [f"Here is {worker}" for worker in visitors]
        for visitor, text in zip(visitors.values(), said, strict=True):
            await visitor.say(text)
            await feed_until(feed, "message", text=text)
        for visitor in visitors.values():
            await visitor.until(lambda heard=visitor.heard: set(said) <= set(heard.values()))
        assert {visitor.connections for visitor in visitors.values()} == {1}


async def test_every_worker_knows_who_is_where(
    deployment: Deployment, admin: Client, guest: Client
):
    async with everywhere(deployment, admin) as visitors:
        async with Visitor(guest):
            for visitor in visitors.values():
                await visitor.until(lambda v=visitor: (v.people, v.guests) == (["admin"], 1))
            async with guest.get("/feed/") as feed:
                await feed_until(feed, "presence", room="lobby", people=["admin"], guests=1)
        for visitor in visitors.values():
            await visitor.until(lambda v=visitor: (v.people, v.guests) == (["admin"], 0))


# ---- nginx ----


async def test_nginx_sends_the_static_files(browserlike: Client):
    for path in "/static/chat/room.js", "/static/admin/css/base.css":
        async with browserlike.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "max-age=600"  # Django's half says nothing
    async with browserlike.get("/static/../settings.py") as answer:
        assert answer.status == 404


async def test_nginx_leads_to_https(deployment: Deployment, guest: Client):
    async with guest.get(f"{deployment.insecure}/rooms/lobby/", allow_redirects=False) as answer:
        assert answer.status == 301
        # With the port that https has everywhere but here.
        assert answer.headers["Location"] == "https://127.0.0.1/rooms/lobby/"


async def test_nginx_limits_uploads(guest: Client):
    async with guest.post("/login/", data=io.BytesIO(b"x" * (MAX_BODY + 1))) as answer:
        assert (answer.status, answer.headers["Server"][:5]) == (413, "nginx")
    async with guest.post("/login/", data=io.BytesIO(b"x" * MAX_BODY)) as answer:
        assert answer.status == 403
        assert "CSRF" in await answer.text()  # Django's own answer


async def test_pages_of_the_site_are_told_from_others(deployment: Deployment, browserlike: Client):
    """Behind nginx the site knows by which address, and that by https, browsers come."""
    path = "/rooms/lobby/socket/"
    async with browserlike.ws_connect(path, headers={"Origin": deployment.url}) as socket:
        assert not socket.closed
    for origin in deployment.url.replace("https", "http"), "https://elsewhere.example":
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await browserlike.ws_connect(path, headers={"Origin": origin})


async def test_cookies_are_for_https_alone(deployment: Deployment, admin: Client):
    assert {cookie.key: cookie["secure"] for cookie in admin.cookie_jar} == {
        "csrftoken": True,
        "sessionid": True,
    }


# ---- When something breaks ----


@asynccontextmanager
async def browser_page(deployment: Deployment) -> AsyncIterator[object]:
    """Chromium, in the lobby as admin."""
    async with chromium() as browser:
        page = await browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(DEADLINE * 1000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{deployment.url}/login/?next=/rooms/lobby/")
        await page.get_by_label("Username").fill("admin")
        await page.get_by_label("Password").fill("admin")
        await page.get_by_role("button", name="Log in").click()
        await page.locator("#people-list .name").wait_for(state="attached")
        yield page
        assert errors == []


async def wait_for_texts(page, wanted: list[str]) -> None:
    """Wait until the page shows all that, and check that it shows nothing twice."""
    from playwright.async_api import expect

    shown = page.locator(".message:not(.unsent) .text")
    await expect(shown.filter(has_text=wanted[-1])).to_have_count(1, timeout=DEADLINE * 1000)
    async with asyncio.timeout(DEADLINE):
        while set(wanted) - set(texts := await shown.all_inner_texts()):
            await asyncio.sleep(0.05)
    assert max(Counter(texts).values()) == 1


async def talk_while_killed(
    deployment: Deployment, visitors: dict[int, Visitor], doomed: int
) -> list[str]:
    """All visitors talk; in the middle of it a worker is killed. Returns what was said."""
    said: list[str] = []

    async def talk(name: int, visitor: Visitor) -> None:
        for number in range(20):
            text = f"Number {number} by {name}, until {doomed} was killed."
            await visitor.say(text)
            said.append(text)

    host = host_of(deployment, doomed)
    talking = asyncio.gather(*(talk(*item) for item in visitors.items()))
    await visitors[doomed].until(lambda: len(said) > 8)
    assert not talking.done()
    os.kill(doomed, signal.SIGKILL)
    await talking
    for visitor in visitors.values():
        await visitor.until(lambda heard=visitor.heard: set(said) <= set(heard.values()))
        assert max(Counter(visitor.heard.values()).values()) == 1
    await until(lambda: doomed not in host.workers())
    return said


async def test_a_killed_worker_loses_nothing(deployment: Deployment, admin: Client, guest: Client):
    """But one guest, who does not come back; after a while that is known to the other workers."""
    async with everywhere(deployment, admin) as visitors:
        doomed = next(iter(visitors))
        async with visitor_at(deployment, guest, doomed, comes_back=False):
            for visitor in visitors.values():
                await visitor.until(lambda v=visitor: v.guests == 1)
            await talk_while_killed(deployment, visitors, doomed)
            assert {pid: visitor.connections for pid, visitor in visitors.items()} == {
                pid: 2 if pid == doomed else 1 for pid in visitors
            }
            for visitor in visitors.values():
                await visitor.until(lambda v=visitor: v.guests == 0)


@pytest.mark.browser
async def test_a_browser_outlives_its_worker(deployment: Deployment, admin: Client):
    async with everywhere(deployment, admin) as visitors:
        before = connections_by_worker(deployment)
        async with browser_page(deployment) as page:
            # Its WebSocket stays, and everything else that it asks for is soon over.
            await until(lambda: (connections_by_worker(deployment) - before).total() == 1)
            (doomed,) = connections_by_worker(deployment) - before
            said = await talk_while_killed(deployment, visitors, doomed)
            await page.get_by_label("Message", exact=True).fill("The browser is back.")
            await page.keyboard.press("Enter")
            await wait_for_texts(page, [*said, "The browser is back."])
            for visitor in visitors.values():
                await visitor.until(lambda v=visitor: "The browser is back." in v.heard.values())


@pytest.mark.parametrize("deployment", ["redis"], indirect=True)
async def test_redis_goes_away_and_comes_back(deployment: Deployment, admin: Client):
    assert deployment.redis is not None
    async with everywhere(deployment, admin) as visitors:
        deployment.redis.stop()
        said = [f"{worker}, alone" for worker in visitors]
        for visitor, text in zip(visitors.values(), said, strict=True):
            await visitor.say(text)  # confirmed without Redis
        for visitor in visitors.values():
            assert len(set(said).intersection(visitor.heard.values())) == 1
        deployment.redis.start()
        for visitor in visitors.values():
            await visitor.until(lambda heard=visitor.heard: set(said) <= set(heard.values()))
        # And then it's as before. Some lose their connection once more: when they came back to a
        # worker that had not found Redis yet.
        for worker, visitor in visitors.items():
            await visitor.say(f"{worker}, together")
        together = {f"{worker}, together" for worker in visitors}
        for visitor in visitors.values():
            await visitor.until(lambda heard=visitor.heard: together <= set(heard.values()))


async def test_a_rolling_restart_drops_no_request(deployment: Deployment, admin: Client):
    """One host after the other gets new workers, while pages, forms and the chat are used."""
    done: Counter[str] = Counter()
    going_on = True

    async def read(path: str) -> None:
        while going_on:
            async with admin.get(path) as answer:
                await answer.read()
            done[f"{path} {answer.status}"] += 1

    async def open_rooms(name: str) -> None:
        token = await csrf_token(admin, "/new/")
        number = 0
        while going_on:
            number += 1
            form = {"name": f"{name} {number}", "csrfmiddlewaretoken": token}
            async with admin.post("/new/", data=form, allow_redirects=False) as answer:
                await answer.read()
            done[f"/new/ {answer.status}"] += 1

    async def talk(visitor: Visitor) -> None:
        while going_on:
            await visitor.say(f"Number {done['said']}.")
            done["said"] += 1

    async with everywhere(deployment, admin) as visitors:
        visitor = next(iter(visitors.values()))
        paths = ["/rooms/lobby/history/", "/rooms/lobby/"]
        load = asyncio.gather(
            *(read(path) for path in paths * 2),
            *(open_rooms(name) for name in ("Left", "Right")),
            talk(visitor),
        )
        for host in deployment.hosts:
            old = host.workers()
            begun = sum(done.values())
            host.reload()
            await until(lambda old=old: not any(map(is_alive, old)))
            await until(lambda begun=begun: sum(done.values()) > begun + 30)
            assert len(host.workers()) == len(old)
        going_on = False
        await load
        for somebody in visitors.values():
            await somebody.until(
                lambda heard=somebody.heard: f"Number {done['said'] - 1}." in heard.values()
            )
            texts = Counter(somebody.heard.values())
            assert [texts[f"Number {number}."] for number in range(done["said"])] == [1] * done[
                "said"
            ]
    assert done.keys() == {"/rooms/lobby/history/ 200", "/rooms/lobby/ 200", "/new/ 302", "said"}
    print(done)
