"""The private names of other packages that aiodjango uses: each with its module and the reason.

A new aiohttp, asgiref or Django that no longer has one fails here by its name.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

import aiodjango

PACKAGE = Path(aiodjango.__file__).parent

# What is read or set on objects of others.
PROTOCOL = "aiohttp.web_protocol"
USED = {
    # The state of a connection: whether a half-closed one is kept, and when it may be closed.
    "_current_request": PROTOCOL,
    "_manager": PROTOCOL,
    "_messages": PROTOCOL,
    "_payload_parser": PROTOCOL,
    "_request_in_progress": PROTOCOL,
    "_task_handler": PROTOCOL,
    "_waiter": PROTOCOL,
    # Why the rest of a body will not be received.
    "_close": PROTOCOL,
    "_force_close": PROTOCOL,
    # The options that an AppRunner has collected for its server.
    "_kwargs": "aiohttp.web_server",
    # A server of a class of its own.
    "_make_server": "aiohttp.web_runner",
    # Dates that aiohttp's properties of a request cannot read. And a cache's client, which is made
    # before threads share it.
    "_cache": "aiohttp.web_request",
    "_class": "django.core.cache.backends.memcached",
    # Variables that asgiref carries back from a thread.
    "_restore_context": "asgiref.sync",
    # Pools that stay in the parent after a fork.
    "_connection_pools": "django.db.backends.postgresql.base",
    # Which files Django's own handlers would serve.
    "_should_handle": "django.contrib.staticfiles.handlers",
    # The parts of Django's live server and test clients.
    "_MediaFilesHandler": "django.test.testcases",
    "_create_server": "django.test.testcases",
    "_create_server_thread": "django.test.testcases",
    "_dont_enforce_csrf_checks": "django.middleware.csrf",
}
# What our classes override, or set on themselves, of their base classes.
INHERITED = {
    # aiohttp's own one ignores gunicorn's hook.
    "_create_ssl_context": "aiohttp.worker",
    # The rest of the time is for handlers whose bodies are late.
    "_shutdown_timeout": "aiohttp.web_runner",
    # Which address Django's runserver was given.
    "_raw_ipv6": "django.core.management.commands.runserver",
    # Called at the end of each request of a live server, as Django does.
    "_close_connections": "django.core.servers.basehttp",
    # The method json() of a response of Django's test clients.
    "_parse_json": "django.test.client",
    # The pytest fixture aio_live_server starts a live server without a test case.
    "_start_server_thread": "django.test.testcases",
}
# Public, in spite of their names.
DOCUMENTED = {
    *("_asdict", "_replace"),  # of named tuples
    *("_current_frames", "_exit"),  # of sys and os
    *("_default_manager", "_meta"),  # of Django's models
}


def private_names(tree):
    """The names that belong to another object than the one whose method is running."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def found():
    """Private names of others by the modules that use them; without those of the same module."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
        for name in private_names(tree):
            if re.match(r"_[^_]", name) and name not in own | DOCUMENTED:
                yield name, path


def test_each_private_name_is_listed():
    unlisted = {f"{path}: {name}" for name, path in found() if name not in USED}
    assert unlisted == set(), "no public way? then add it to USED, with the reason"


@pytest.mark.parametrize(("name", "module"), [*USED.items(), *INHERITED.items()])
def test_each_private_name_is_still_there(name, module):
    try:
        source = inspect.getsource(importlib.import_module(module))
    except (ImportError, ImproperlyConfigured) as error:  # an optional driver
        pytest.skip(f"needs the module of {module}: {error}")
    assert re.search(rf"\b{name}\b", source)
