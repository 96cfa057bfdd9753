"""The setting AIO_BROADCAST, its system checks, and what tests capture."""

import logging
import re
from pathlib import Path

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import TestCase

from aiodjango.broadcast import apublish, publish, publishing
from aiodjango.broadcast.backend import check_prefix, make_backend
from aiodjango.broadcast.postgres import MAX_PREFIX
from aiodjango.checks import check_settings
from aiodjango.test import capture_broadcasts
from pytest_aiodjango import captured_broadcasts  # noqa: F401

MEMORY = "aiodjango.broadcast.memory.MemoryBackend"
REDIS = "aiodjango.broadcast.redis.RedisBackend"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("redis://", "must be a dictionary such as"),
        ({}, "must be a dictionary such as"),
        ({"BACKEND": REDIS, "HOST": "x"}, "the unknown entry 'HOST'"),
        ({"BACKEND": REDIS, "OPTIONS": ["x"]}, "OPTIONS in AIO_BROADCAST must be a dictionary"),
        ({"BACKEND": REDIS, "LOCATION": "http://x"}, "is not the URL of a Redis server"),
        ({"BACKEND": REDIS, "LOCATION": "redis+cluster://x"}, "of the form host:port"),
        ({"BACKEND": REDIS, "LOCATION": "redis://x", "OPTIONS": {"no_such": 1}}, "no_such"),
        ({"BACKEND": REDIS, "LOCATION": None}, "LOCATION in AIO_BROADCAST must be a string"),
        ({"BACKEND": REDIS, "LOCATION": ["redis://x"]}, "must be a string, not .'redis://x'"),
        ({"BACKEND": REDIS, "LOCATION": Path("/run/redis")}, "must be a string, not PosixPath"),
        ({"BACKEND": MEMORY, "LOCATION": 6379}, "must be a string, not 6379"),
        ({"BACKEND": MEMORY, 5: 1, "PORT": 2}, "the unknown entry 5"),
        ({"BACKEND": REDIS, "LOCATION": "redis://x", "OPTIONS": {"prefix": 5}}, "prefix must be"),
        (
            {"BACKEND": REDIS, "LOCATION": "unix:///x", "OPTIONS": {"prefix": "\n"}},
            "prefix must be",
        ),
        ({"BACKEND": REDIS, "LOCATION": "redis+cluster://x:65536"}, "of the form host:port"),
        ({"BACKEND": REDIS, "LOCATION": "redis+cluster://x:6379/1"}, "has a path"),
        (
            {
                "BACKEND": REDIS,
                "LOCATION": "redis+sentinel://x:26379/main",
                "OPTIONS": {"sentinel_kwargs": {"no_such": 1}},
            },
            "no_such",
        ),
        ({"BACKEND": "."}, "could not be imported"),
        ({"BACKEND": ".relative.Backend"}, "could not be imported"),
        ({"BACKEND": "no.such.Backend"}, "could not be imported"),
        ({"BACKEND": "aiodjango.broadcast.memory"}, "is not a subclass"),
        ({"BACKEND": "django.http.HttpResponse"}, "is not a subclass"),
        (
            {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend"},
            "'default' is not PostgreSQL",
        ),
        (
            {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend", "LOCATION": "other"},
            "DATABASES has no database 'other'",
        ),
        ({"BACKEND": "aiodjango.broadcast.channels.ChannelsBackend"}, "CHANNEL_LAYERS"),
    ],
)
def test_what_is_invalid_is_an_error_that_a_check_finds(settings, value, text):
    settings.AIO_BROADCAST = value
    with pytest.raises(ImproperlyConfigured, match=text):
        make_backend()
    (message,) = check_settings()
    assert message.id == "aiodjango.E006"
    assert re.search(text, message.msg)


@pytest.mark.parametrize("prefix", ["x" * 31, "é" * 16, "a\0", None])
def test_a_prefix_that_postgresql_cannot_have(settings, prefix):
    check_prefix("x" * 30, MAX_PREFIX)
    with pytest.raises(ValueError, match="prefix must be printable text of up to 30 bytes"):
        check_prefix(prefix, MAX_PREFIX)


def test_a_missing_package_is_named(settings, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio", None)
    monkeypatch.delitem(__import__("sys").modules, "aiodjango.broadcast.redis", raising=False)
    settings.AIO_BROADCAST = {"BACKEND": REDIS, "LOCATION": "redis://x"}
    (message,) = check_settings()
    assert message.hint == "Install it: pip install 'aiodjango[redis]'"


@pytest.mark.parametrize(("workers", "ids"), [("1", []), ("4", ["aiodjango.W006"]), ("x", [])])
def test_the_memory_back_end_with_several_workers(monkeypatch, workers, ids):
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    assert [message.id for message in check_settings()] == ids


def test_the_command_needs_a_broker():
    with pytest.raises(CommandError, match="does not reach other processes"):
        call_command("aiobroadcast", "channel", "1")


def test_what_nobody_can_hear_is_said_once(caplog, settings, monkeypatch):
    monkeypatch.delattr(mail, "outbox")  # as in a process that is no test
    settings.AIO_BROADCAST = {"BACKEND": "aiodjango.broadcast.memory.MemoryBackend"}
    with caplog.at_level(logging.WARNING, "aiodjango.broadcast"):
        publish("channel", 1, now=True)
        publish("channel", 2, now=True)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "An event was published in a process without open connections"
    ]
    assert publishing.captures == []


def test_tests_without_a_page_are_not_warned(caplog, settings):
    settings.AIO_BROADCAST = {"BACKEND": "aiodjango.broadcast.memory.MemoryBackend"}
    with caplog.at_level(logging.WARNING, "aiodjango.broadcast"):
        publish("channel", 1, now=True)
    assert not caplog.records


# ---- Captured ----


class TestCaptured(TestCase):
    def test_what_waits_for_the_commit_that_never_comes(self):
        publish("before", 0)
        captured = self.enterContext(capture_broadcasts())
        publish("a", {"b": 1})
        publish("now", 2, now=True)
        with transaction.atomic():
            publish("a", 3)
        try:
            with transaction.atomic():
                publish("a", "rolled back")
                raise ValueError
        except ValueError:
            pass
        self.assertEqual(captured, [("now", 2), ("a", {"b": 1}), ("a", 3)])
        self.assertEqual(captured[0], ("now", 2))
        self.assertEqual(len(captured), 3)

    def test_what_on_commit_callbacks_publish(self):
        with capture_broadcasts() as captured, self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: publish("a", 1))
        publish("after", 2)
        self.assertEqual(captured, [("a", 1)])


async def test_coroutines_are_captured(captured_broadcasts):  # noqa: F811
    await apublish("a", [1])
    assert captured_broadcasts == [("a", [1])]
    assert repr(captured_broadcasts) == "[('a', [1])]"
