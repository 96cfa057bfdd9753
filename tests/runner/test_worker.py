"""gunicorn with aiodjango's worker: its settings hold. What is shared holds for aiohttp's too."""

import asyncio
import gzip
import json
import os
import re
import signal
import ssl
import subprocess

import pytest

from tests.conftest import require
from tests.gateway.client import Client
from tests.support.server import serve, until
from tests.support.waiting import DEADLINE

OURS = "aiodjango.worker.GunicornWorker"
UVLOOP = "aiodjango.worker.GunicornUVLoopWorker"
AIOHTTPS = "aiohttp.GunicornWebWorker"
SETTINGS = "tests.runner.site.settings"


@pytest.fixture
def start(tmp_path):
    """A function that starts gunicorn with these options."""
    require(module="gunicorn")

    def begin(*options, worker=OURS, app="app", warnings="-Werror::DeprecationWarning"):
        if worker == UVLOOP:
            require(module="uvloop")
        command = [
            *(() if worker == AIOHTTPS else (warnings,)),
            *("-m", "gunicorn", f"tests.runner.site.wsgi:{app}", "--bind=fd://{fd}"),
            *(f"--worker-class={worker}", "--no-control-socket", "--graceful-timeout=30"),
            *options,
        ]
        return serve(command, tmp_path / "log", settings=SETTINGS)

    return begin


async def ask(server, method="GET", path="/sync/", *, tls=None, version="1.1", **options):
    async with Client("127.0.0.1", server.address, tls=tls) as client:
        return await client.request(method, path, version=version, **options)


async def seen(server, *arguments, **options):
    answer = await ask(server, *arguments, **options)
    assert answer.status == 200, answer
    return json.loads(answer.body)


# ---- Bodies ----


@pytest.mark.parametrize("worker", [OURS, UVLOOP, AIOHTTPS])
async def test_encoded_bodies(start, worker):
    body, headers = gzip.compress(b"content" * 100), {"Content-Encoding": "gzip"}
    with start(worker=worker) as server:
        django = await seen(server, "POST", "/sync/", body=body, headers=headers)
        lifted = await seen(server, "POST", "/lifted/", body=body, headers=headers)
    assert bytes.fromhex(lifted["body"]) == b"content" * 100
    if worker == AIOHTTPS:
        assert bytes.fromhex(django["body"]) == b"content" * 100
        assert django["encoding"] is None
    else:
        assert bytes.fromhex(django["body"]) == body
        assert django["encoding"] == "gzip"
        assert django["length"] == str(len(body))


# ---- Limits ----


async def test_the_limits_of_gunicorn_hold(start):
    options = ("--limit-request-line=100", "--limit-request-field_size=50")
    with start(*options, "--limit-request-fields=5") as server:
        for path in "/sync/?", "/lifted/?":
            assert (await seen(server, "GET", path.ljust(100, "a")))["url"] == 100
            assert (await ask(server, "GET", path.ljust(101, "a"))).status == 400
            headers = {"X-Long": "a" * 50}
            assert (await ask(server, "GET", path, headers=headers)).status == 200
            headers = {"X-Long": "a" * 51}
            assert (await ask(server, "GET", path, headers=headers)).status == 400
            few, many = ({f"X-{at}": "a" for at in range(count)} for count in (4, 5))
            assert (await ask(server, "GET", path, headers=few)).status == 200  # with Host five
            assert (await ask(server, "GET", path, headers=many)).status == 400


@pytest.mark.parametrize(
    "options", [(), ("--limit-request-line=0", "--limit-request-field_size=0")]
)
async def test_the_default_limits_and_none(start, options):
    status = 200 if options else 400
    with start(*options) as server:
        assert (await seen(server, "GET", "/sync/?".ljust(4094, "a")))["url"] == 4094
        assert (await ask(server, "GET", "/sync/?".ljust(4095, "a"))).status == status
        assert (await ask(server, "GET", "/lifted/?".ljust(100_000, "a"))).status == status
        headers = {"X-Long": "a" * 30_000}
        assert (await ask(server, "GET", "/lifted/", headers=headers)).status == status


# ---- Proxies ----


@pytest.mark.parametrize("preload", [(), ("--preload",)])
@pytest.mark.parametrize(
    ("option", "scheme"),
    [
        ((), "https"),
        (("--forwarded-allow-ips=10.0.0.0/8,192.168.0.1",), "http"),
        (("--forwarded-allow-ips=127.0.0.0/8",), "https"),
        (("--forwarded-allow-ips=*",), "https"),
    ],
)
async def test_who_may_name_the_scheme(start, preload, option, scheme):
    headers = {"X-Forwarded-Proto": "https"}
    with start(*preload, *option) as server:
        for path in "/sync/", "/lifted/":
            assert (await seen(server, "GET", path, headers=headers))["scheme"] == scheme


# ---- The log ----


async def logged(server, pattern):
    return await until(lambda: re.search(pattern, server.output(), re.MULTILINE))


@pytest.mark.parametrize("path", ["/sync/", "/lifted/"])
async def test_the_access_log_in_gunicorns_format(start, path):
    # Braces are doubled for the formatting of the command.
    form = '%(h)s %(m)s %(U)s %(q)s %(H)s "%(r)s" %(s)s %({{x-test}}i)s %({{content-type}}o)s %(f)s'
    with start("--access-logfile=-", f"--access-logformat={form}") as server:
        headers = {"X-Test": "tested"}
        await seen(server, "GET", f"{path}?a=b%0Ac", headers=headers)
        line = f'127.0.0.1 GET {path} a=b%0Ac HTTP/1.1 "GET {path}?a=b%0Ac HTTP/1.1" 200 tested '
        assert await logged(server, f"^{re.escape(line)}application/json.* -$")


async def test_the_access_log_by_default_is_gunicorns(start):
    with start("--access-logfile=-") as server:
        await seen(server, "GET", "/lifted/", headers={"Referer": "http://x/"})
        await logged(
            server, r'^127\.0\.0\.1 - - \[.+\] "GET /lifted/ HTTP/1\.1" 200 \d+ "http://x/" "-"$'
        )


@pytest.mark.parametrize("worker", [OURS, AIOHTTPS])
async def test_the_access_log_in_aiohttps_format(start, worker):
    options = ("--access-logfile=-", "--access-logformat=%a <%r> %s")
    with start(*options, worker=worker) as server:
        await seen(server, "GET", "/lifted/")
        await logged(server, r"^127\.0\.0\.1 <GET /lifted/ HTTP/1\.1> 200$")


async def test_no_access_log_unless_asked_for(start):
    with start() as server:
        await seen(server)
    assert "GET /sync/" not in server.output()


# ---- TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        *(require(program="openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


async def test_tls_with_gunicorns_hook(start, certificate, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "import ssl\n"
        "def ssl_context(config, make_default):\n"
        "    context = make_default()\n"
        "    context.minimum_version = ssl.TLSVersion.TLSv1_3\n"
        "    return context\n"
    )
    options = (f"--certfile={certificate / 'cert.pem'}", f"--keyfile={certificate / 'key.pem'}")
    tls = ssl.create_default_context(cafile=certificate / "cert.pem")
    with start(f"--config={config}", *options) as server:
        for path in "/sync/", "/lifted/":
            assert (await seen(server, "GET", path, tls=tls))["scheme"] == "https"
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(server, tls=tls)


# ---- Life ----


@pytest.mark.parametrize("worker", [OURS, UVLOOP])
async def test_a_worker_is_replaced_after_so_many_requests(start, worker):
    with start("--max-requests=3", worker=worker) as server:
        for _ in range(5):
            await seen(server)
        await logged(server, "Max requests, shutting down")
        await until(lambda: server.output().count("Booting worker") == 2)
        await seen(server)


async def test_an_idle_connection_ends_after_keepalive(start):
    with start("--keep-alive=1") as server:
        async with Client("127.0.0.1", server.address) as client:
            assert (await client.request("GET", "/sync/")).status == 200
            assert await asyncio.wait_for(client.reader.read(), DEADLINE) == b""


async def test_a_restart_serves_a_connection_that_was_just_accepted(start):
    with start() as server:
        await seen(server)  # it runs
        async with Client("127.0.0.1", server.address) as client:
            server.process.send_signal(signal.SIGTERM)
            assert (await client.request("GET", "/sync/")).status == 200
        assert await server.wait() == 0


# ---- What is served ----


@pytest.mark.parametrize("app", ["make_app", "make_runner"])
async def test_a_coroutine_function_may_make_an_application_or_a_runner(start, app):
    with start(app=app) as server:
        assert (await seen(server, "GET", "/lifted/"))["scheme"] == "http"
        # The runner's own options hold.
        answer = await ask(server, "GET", "/sync/?".ljust(60, "a"))
        assert answer.status == (400 if app == "make_runner" else 200)


async def test_a_wsgi_application_is_an_error_that_says_what_to_serve(start):
    with start(app="application") as server:
        assert await server.wait() != 0
        output = server.output()
    assert "GunicornWorker serves an aiohttp.web.Application" in output
    assert "aiodjango.get_aio_application()" in output


async def test_a_hook_may_replace_what_is_served(start, tmp_path):
    """As it may with aiohttp's worker."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "from aiodjango import AioRunner\n"
        "def post_worker_init(worker):\n"
        "    app = worker.wsgi\n"
        "    async def make_runner():\n"
        "        return AioRunner(app, max_line_size=50)\n"
        "    worker.wsgi = make_runner\n"
    )
    with start(f"--config={config}") as server:
        assert (await ask(server, "GET", "/sync/")).status == 200
        assert (await ask(server, "GET", "/sync/?".ljust(60, "a"))).status == 400


# ---- Exits ----


@pytest.mark.parametrize("worker", [OURS, UVLOOP])
async def test_an_exit_in_a_task_of_the_site_ends_no_other_request(start, worker):
    with start(worker=worker) as server:
        await ask(server, path="/begin/")
        waiting = asyncio.create_task(ask(server, path="/waiting/"))
        await ask(server, path="/begun/")
        for name in ("task", "thread", "over-loop"):
            assert (await ask(server, path=f"/leaving-{name}/")).status == 500, name
        assert (await ask(server, path="/leaving-callback/")).text == "answered"
        assert not (await ask(server, path="/leaving-body/")).complete
        await ask(server, path="/end/")
        assert (await waiting).text == "answered"
        assert server.output().count("Booting worker") == 1
        assert "A task of the site raised SystemExit('left')" in server.output()


async def test_gunicorn_can_abort_a_worker(start):
    with start() as server:
        await seen(server)  # it runs
        pid = int(re.search(r"Booting worker with pid: (\d+)", server.output())[1])
        os.kill(pid, signal.SIGABRT)
        await until(lambda: server.output().count("Booting worker") == 2)
