"""The examples of docs/howto/shop, in two workers, with Redis between them."""

import json
import subprocess
import sys

import aiohttp
import pytest

from tests.conftest import require
from tests.support.browser import chromium
from tests.support.environment import ROOT, environment
from tests.support.server import serve
from tests.support.waiting import DEADLINE, until
from tests.system.docs.reader import DOCS
from tests.system.example.hosts import running_redis

SETTINGS = "tests.system.docs.shop_settings"
SETUP = "import django; django.setup()\n"
ANN = """
from django.contrib.auth.models import User
from django.test import Client
ann = User.objects.create_user("ann")
client = Client()
client.force_login(ann)
print(client.session.session_key)
"""


class Shop:
    """Two workers, and commands beside them."""

    def __init__(self, server, redis, variables):
        self.server, self.redis, self._variables = server, redis, variables

    def python(self, *arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment(DJANGO_SETTINGS_MODULE=SETTINGS, **self._variables),
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        ).stdout

    def subscribers(self, channel):
        """How many processes listen to a channel."""
        import redis

        with redis.Redis.from_url(self.redis.url) as client:
            return dict(client.pubsub_numsub(f"aiodjango:{channel}"))[
                f"aiodjango:{channel}".encode()
            ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    for module in ("gunicorn", "redis", "aiohttp_sse"):
        require(module=module)
    folder = tmp_path_factory.mktemp("shop")
    command = ["-m", "gunicorn", "tests.system.docs.shop_wsgi:app", "--bind=fd://{fd}"]
    command += ["--worker-class=aiodjango.worker.GunicornWorker", "--workers=2"]
    command += ["--no-control-socket"]
    with running_redis(require(program="redis-server")) as redis:
        variables = {
            "SHOP_FOLDER": str(folder),
            "REDIS_URL": redis.url,
            "PYTHONPATH": f"{ROOT}:{DOCS / 'howto'}",
        }
        for arguments in ("migrate", "-v0", "--run-syncdb"), ("collectstatic", "--noinput"):
            Shop(None, redis, variables).python("-m", "django", *arguments)
        with serve(command, folder / "log", settings=SETTINGS, variables=variables) as server:
            yield Shop(server, redis, variables)


@pytest.fixture(scope="module")
def session(shop):
    return shop.python("-c", SETUP + ANN).strip()


def order(shop):
    """What the admin, a command or a task does."""
    code = "from shop.models import Order\nprint(Order.objects.create(seller_id=1).pk)"
    return int(shop.python("-c", SETUP + code))


@pytest.mark.browser
async def test_the_bell_rings_in_the_pages_of_both_workers(shop, session):
    async with chromium() as browser:
        from playwright.async_api import expect

        expect.set_options(timeout=DEADLINE * 1000)
        url = f"http://127.0.0.1:{shop.server.address}/"
        context = await browser.new_context()
        await context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        pages = []
        while shop.subscribers("user-1") < 2:
            page = await context.new_page()
            await page.goto(url)
            pages.append(page)
        number = order(shop)
        for page in pages:
            await expect(page.locator("#bell")).to_have_text(f"New order: {number}")
        shop.python("-m", "django", "aiobroadcast", "everybody", '{"order": 7}')
        for page in pages:
            await expect(page.locator("#bell")).to_have_text("New order: 7")


async def test_the_bell(shop, session):
    async with shop.server.client() as client:
        headers = {"Cookie": f"sessionid={session}"}
        async with client.ws_connect("/bell/", headers=headers) as ws:
            await until(lambda: shop.subscribers("user-1"))
            number = order(shop)
            assert await ws.receive_json(timeout=DEADLINE) == {"order": number}
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/bell/")


async def test_the_room(shop):
    async with (
        shop.server.client() as client,
        client.ws_connect("/rooms/attic/") as one,
        client.ws_connect("/rooms/attic/") as other,
    ):
        await other.send_json({"text": "is somebody here?"})
        assert await other.receive_json(timeout=DEADLINE) == {"text": "is somebody here?"}
        await one.send_json({"text": "Hello"})
        while await one.receive_json(timeout=DEADLINE) != {"text": "Hello"}:
            pass
        assert await other.receive_json(timeout=DEADLINE) == {"text": "Hello"}


async def test_the_stream(shop):
    async with shop.server.client() as client, client.get("/news/") as response:
        await until(lambda: shop.subscribers("news"))
        shop.python("-m", "django", "aiobroadcast", "news", '"ü"')
        assert await response.content.readline() == 'data: "ü"\r\n'.encode()


async def test_progress_of_a_job(shop):
    code = SETUP + "from shop.models import Job\nprint(Job.objects.create(total=3).pk)"
    job = int(shop.python("-c", code))
    async with shop.server.client() as client:
        async with client.get(f"/jobs/{job}/progress/") as response:
            assert await read_event(response) == {"done": 0, "total": 3}
            shop.python("-c", f"{SETUP}from shop.jobs import run_job\nrun_job({job})")
            for done in 1, 2, 3:
                assert await read_event(response) == {"done": done, "total": 3}
        async with client.get("/jobs/0/progress/") as response:
            assert response.status == 404


async def read_event(response):
    line = await response.content.readuntil(b"\r\n\r\n")
    return json.loads(line.removeprefix(b"data: "))


@pytest.mark.browser
async def test_progress_bar(shop):
    code = SETUP + "from shop.models import Job\nprint(Job.objects.create(total=40).pk)"
    job = int(shop.python("-c", code))
    async with chromium() as browser:
        from playwright.async_api import expect

        expect.set_options(timeout=DEADLINE * 1000)
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{shop.server.address}/jobs/{job}/")
        await until(lambda: shop.subscribers(f"job-{job}"))
        shop.python("-c", f"{SETUP}from shop.jobs import run_job\nrun_job({job})")
        await expect(page.locator("#bar")).to_have_js_property("value", 40)
        # The page has closed its stream: nobody listens any more.
        await until(lambda: not shop.subscribers(f"job-{job}"))


def test_an_ordinary_process_has_no_thread_of_ours(shop):
    code = SETUP + "import threading\nfrom shop.models import Job\nJob.objects.count()\n"
    assert shop.python("-c", code + "print(threading.active_count())").strip() == "1"


async def test_a_command_with_an_event_loop(shop, session):
    number = order(shop)
    async with shop.server.client() as client:
        headers = {"Cookie": f"sessionid={session}"}
        async with client.ws_connect("/bell/", headers=headers) as ws:
            await until(lambda: shop.subscribers("user-1"))
            shop.python("-m", "django", "remind")
            assert await ws.receive_json(timeout=DEADLINE) == {"order": number}


async def test_templates(shop, session):
    async with shop.server.client() as client:
        headers = {"Cookie": f"sessionid={session}"}
        async with client.get("/account/", headers=headers) as response:
            assert "Signed in as ann" in await response.text()
        async with client.get("/people/", headers=headers) as response:
            assert "<li>ann</li>" in await response.text()


def test_they_are_as_short_as_promised():
    text = (DOCS / "howto/shop/views.py").read_text()
    for name, most in ("bell", 10), ("room", 20), ("stream", 8):
        (view,) = [part for part in text.split("\n\n\n") if f"async def {name}(" in part]
        assert len(view.strip().splitlines()) <= most, name
