"""Each back end over its real broker."""

from collections.abc import Iterator

import pytest
from django.db import connections

from tests.conftest import require
from tests.support.postgres import Cluster, postgres
from tests.system.example.hosts import Redis, running_redis

__all__ = ["postgres"]

REMOTE = ["redis", "postgres"]


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    require(module="redis")
    with running_redis(require(program="redis-server")) as redis:
        yield redis


@pytest.fixture
def broker(request: pytest.FixtureRequest, settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sets AIO_BROADCAST to the back end that the test is for: see `with_backends`."""
    name = request.param
    if name == "redis":
        url = request.getfixturevalue("redis").url
        value = {"BACKEND": "aiodjango.broadcast.redis.RedisBackend", "LOCATION": url}
    elif name == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        configured = connections.configure_settings(
            {**connections.settings, "notify": cluster.database()}
        )
        monkeypatch.setitem(connections.settings, "notify", configured["notify"])
        value = {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend", "LOCATION": "notify"}
    elif name == "channels":
        require(module="channels")
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
        value = {"BACKEND": "aiodjango.broadcast.channels.ChannelsBackend"}
    else:
        value = {"BACKEND": "aiodjango.broadcast.memory.MemoryBackend"}
    settings.AIO_BROADCAST = value
    return name


def with_backends(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "broker", names or ["memory", "redis", "postgres", "channels"], indirect=True
    )
