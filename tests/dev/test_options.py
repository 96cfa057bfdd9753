"""Every option of Django's own command exists here, and means the same."""

import argparse
import asyncio
import re
import socket

import pytest
from django.contrib.staticfiles.management.commands import runserver as staticfiles_runserver
from django.core.management import get_commands, load_command_class

from aiodjango.management.commands.runserver import Command

from .conftest import get


def options(command) -> dict[str, dict]:
    parser = command.create_parser("manage.py", "runserver")
    return {
        "/".join(action.option_strings) or action.dest: {
            "dest": action.dest,
            "default": action.default,
            "nargs": action.nargs,
            "help": action.help,
        }
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._VersionAction))
    }


def test_every_option_of_djangos_command_is_here_unchanged():
    djangos = options(staticfiles_runserver.Command())
    ours = options(Command())
    assert ours.pop("--noaio")["default"] is True
    assert ours == djangos
    # So that an empty comparison cannot pass.
    assert {"addrport", "--ipv6/-6", "--noreload", "--nostatic", "--skip-checks"} <= set(ours)


def test_the_command_replaces_djangos_when_it_comes_first():
    command = load_command_class(get_commands()["runserver"], "runserver")
    assert isinstance(command, Command)


def test_the_command_extends_that_of_staticfiles():
    assert issubclass(Command, staticfiles_runserver.Command)


async def test_without_staticfiles_the_command_extends_the_core_one(runserver):
    server = await runserver("--nostatic", DEVSITE_APPS="aiodjango")
    assert await server.ended() == 2
    assert "unrecognized arguments: --nostatic" in server.output


async def test_without_staticfiles_the_command_serves(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0", DEVSITE_APPS="aiodjango")
    url = await server.started()
    async with client.get(f"{url}/lifted/") as response:
        assert await response.text() == "lifted, first edition"


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        (["127.0.0.1:0"], "127.0.0.1"),
        (["0"], "127.0.0.1"),
        (["localhost:0"], "localhost"),
        (["0:0"], "0.0.0.0"),
        (["-6", "0"], r"\[::1\]"),
        (["[::1]:0"], r"\[::1\]"),
    ],
)
async def test_addresses(runserver, client, arguments, host):
    if "-6" in arguments or "::1" in host:
        skip_without_ipv6()
    server = await runserver("--noreload", *arguments)
    url = await server.started()
    assert re.fullmatch(rf"http://{host}:[1-9]\d*", url)
    async with client.get(f"{url}/sync/") as response:
        assert await response.text() == "sync, first edition"


def skip_without_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"needs IPv6: {error}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense:port"], '"nonsense:port" is not a valid port number or address:port pair.'),
        (["-6", "127.0.0.1:0"], '"127.0.0.1" is not a valid IPv6 address.'),
    ],
)
async def test_wrong_addresses_are_refused_as_by_django(runserver, arguments, message):
    server = await runserver("--noreload", *arguments)
    assert await server.ended() == 1
    assert server.output == f"CommandError: {message}\n"


async def test_noaio_runs_djangos_own_server(runserver, client):
    server = await runserver("--noreload", "--noaio", "127.0.0.1:0")
    url = await server.started()
    async with client.get(f"{url}/sync/") as response:
        assert response.headers["Server"].startswith("WSGIServer")
    assert "aiodjango" not in server.output


async def three_at_once(url):
    return await asyncio.gather(*(get(f"{url}/alone/") for _ in range(3)))


@pytest.mark.parametrize("application", [None, "devsite.aio.app"])
async def test_nothreading_runs_one_sync_view_at_a_time(runserver, application):
    variables = {"DEVSITE_AIO_APPLICATION": application} if application else {}
    server = await runserver("--noreload", "--nothreading", "127.0.0.1:0", **variables)
    url = await server.started() + ("/site" if application else "")
    assert await three_at_once(url) == ["alone"] * 3


async def test_sync_views_run_side_by_side_without_it(runserver):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    assert "together" in await three_at_once(url)


async def test_skip_checks(runserver):
    server = await runserver("--noreload", "--skip-checks", "127.0.0.1:0")
    await server.started()
    assert "Performing system checks" not in server.output


async def test_checks_and_migrations_come_first(runserver):
    apps = "aiodjango,django.contrib.staticfiles,django.contrib.contenttypes"
    server = await runserver("--noreload", "127.0.0.1:0", DEVSITE_APPS=apps)
    await server.wait_for("Performing system checks...")
    await server.wait_for("System check identified no issues")
    await server.wait_for(r"You have 2 unapplied migration\(s\)")
    await server.started()
