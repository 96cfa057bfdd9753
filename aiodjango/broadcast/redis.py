"""The back end for Redis pub/sub. Requires redis-py: `pip install aiodjango[redis]`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from .backend import Backend, BrokerUnavailable, Message, Receiver, check_prefix
from .wire import pack, unpack

# How long Redis may take to answer, in seconds, …
TIMEOUT = 5.0
# … and the time without a message after which the connection is checked, in seconds.
QUIET = 15.0

FORMS = (
    "write redis://host:6379, rediss://host, unix:///path, redis+cluster://host:6379,host:6379 or "
    "redis+sentinel://host:26379,host:26379/name-of-the-master (rediss+… for TLS)"
)


class RedisBackend(Backend):
    """Redis pub/sub.

    location: the URL of Redis: "redis://host:6379", "rediss://host" (TLS) or "unix:///path"; for
        nodes of a cluster "redis+cluster://host:6379,host:6379"; for a master with sentinels
        "redis+sentinel://host:26379,host:26379/name-of-the-master". The last two with TLS:
        "rediss+cluster", "rediss+sentinel".
    prefix: of the channels' names in Redis, which all databases share.
    options: other arguments of redis-py's client, as password= or ssl_ca_certs=. sentinel_kwargs
        are the arguments of the clients for sentinels.

    Raises ValueError for an invalid location or prefix.
    """

    def __init__(self, location: str = "", *, prefix: str = "aiodjango:", **options: Any) -> None:
        super().__init__(location)
        check_prefix(prefix)
        self._prefix = prefix
        self._options: dict[str, Any] = {
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            **options,
            # No retries: a message could arrive twice, and a lost connection must be noticed.
            "retry": Retry(NoBackoff(), 0),
        }
        self._connect = _connector(location, self._options)
        self._client: Redis | None = None  # sends
        self._pubsub: PubSub | None = None

    async def send(self, messages: Sequence[Message]) -> None:
        if self._client is None:
            self._client = await self._available(self._connect())
        pipeline = self._client.pipeline(transaction=False)
        for message in messages:
            pipeline.publish(self._prefix + message.channel, pack(message))
        try:
            await self._available(pipeline.execute())
        except BrokerUnavailable:
            client, self._client = self._client, None
            await _close(client)
            raise

    async def listen(self, receiver: Receiver) -> None:
        client = await self._available(self._connect())
        pubsub: Any = _OneConnection(client.connection_pool)
        try:
            await self._available(pubsub.connect())
            self._pubsub = pubsub
            receiver.confirm("")
            await self._available(self._receive(pubsub, receiver))
        finally:
            self._pubsub = None
            with suppress(RedisError, OSError):
                await pubsub.aclose()
            await _close(client)

    async def _receive(self, pubsub: PubSub, receiver: Receiver) -> None:
        was_asked = False
        while True:
            message = await pubsub.get_message(timeout=TIMEOUT if was_asked else QUIET)
            if message is None:
                if was_asked:
                    raise TimeoutError(f"no answer for {TIMEOUT:.0f} seconds")
                await pubsub.ping()
                was_asked = True
                continue
            was_asked = False
            kind = message["type"]
            if kind not in ("message", "subscribe"):
                continue
            channel = message["channel"].decode().removeprefix(self._prefix)
            if kind == "subscribe":
                receiver.confirm(channel)
            elif (received := unpack(channel, message["data"])) is not None:
                receiver.receive(received)
                # Let other tasks run between many messages.
                await asyncio.sleep(0)

    async def subscribe(self, channels: Sequence[str]) -> None:
        if self._pubsub is not None:
            await self._available(self._pubsub.subscribe(*self._names(channels)))

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        if self._pubsub is not None:
            await self._available(self._pubsub.unsubscribe(*self._names(channels)))

    def _names(self, channels: Sequence[str]) -> list[str]:
        return [self._prefix + channel for channel in channels]

    async def _available(self, step: Awaitable[Any]) -> Any:
        try:
            return await step
        except (RedisError, OSError, TimeoutError) as error:
            raise BrokerUnavailable(f"Redis: {error or type(error).__name__}") from error

    async def close(self) -> None:
        if self._client is not None:
            await _close(self._client)


class _OneConnection(PubSub):
    """Subscriptions that end with their connection.

    redis-py would reconnect by itself, and messages would be lost without notice.
    """

    async def on_connect(self, connection: Any) -> None:
        """Called for each connection but the first."""
        raise ConnectionLost("the connection was lost")


async def _close(client: Redis) -> None:
    with suppress(RedisError, OSError):
        await client.aclose()


def _connector(location: str, options: dict[str, Any]) -> Callable[[], Awaitable[Redis]]:
    """Return a function that makes a client for a location. Raises ValueError."""
    scheme, _, rest = location.partition("://")
    if scheme in ("redis", "rediss", "unix"):
        # Raises errors of an invalid URL or option now.
        pool = Redis.from_url(location, **options).connection_pool
        pool.connection_class(**pool.connection_kwargs)
        if pool.connection_kwargs.get("decode_responses"):
            raise ValueError("the option decode_responses is not supported")

        async def connect() -> Redis:
            return Redis.from_url(location, **options)

        return connect
    security, _, kind = scheme.partition("+")
    if security not in ("redis", "rediss") or kind not in ("cluster", "sentinel"):
        raise ValueError(f"{location!r} is not the URL of a Redis server: {FORMS}")
    parts = urlsplit(f"//{rest}")
    if parts.query:
        raise ValueError(f"{location!r} contains options, which belong in OPTIONS")
    nodes = [_address(node) for node in parts.netloc.rpartition("@")[2].split(",")]
    name = parts.path.strip("/")
    if kind == "cluster" and name:
        raise ValueError(f"{location!r} has a path, but a cluster has no databases: {FORMS}")
    sentinel_options = {**options.pop("sentinel_kwargs", {})}
    if security == "rediss":
        options = {"ssl": True, **options}
    if kind == "sentinel":
        # Sentinels have passwords of their own, but the same connection options.
        same = {key: options[key] for key in options if key.startswith(("socket_", "ssl", "retry"))}
        sentinel_options = {**same, **sentinel_options}
        _ = Redis(**sentinel_options)
    for key in ("username", "password"):
        if value := getattr(parts, key):
            options = {key: unquote(value), **options}
    _ = Redis(**options)  # raises errors of an invalid option now
    if kind == "cluster":
        return lambda: _node_of_cluster(nodes, options)
    if not name:
        raise ValueError(f"{location!r} does not name the master: {FORMS}")
    return lambda: _master(nodes, name, options, sentinel_options)


async def _node_of_cluster(nodes: list[tuple[str, int]], options: dict[str, Any]) -> Redis:
    """Return a client of any node of a cluster: each delivers the messages of all."""
    errors = []
    for host, port in nodes:
        client: Any = Redis(host=host, port=port, **options)
        try:
            if b"cluster_state:ok" in await client.execute_command("CLUSTER", "INFO"):
                return client  # type: ignore[no-any-return]
            errors.append(f"{host}:{port}: the cluster is down")
        except (RedisError, OSError) as error:
            errors.append(f"{host}:{port}: {error or type(error).__name__}")
        await _close(client)
    raise ConnectionLost("; ".join(errors))


async def _master(
    sentinels: list[tuple[str, int]],
    name: str,
    options: dict[str, Any],
    sentinel_options: dict[str, Any],
) -> Redis:
    """Return a client of the current master, by its sentinels."""
    make_sentinel: Any = Sentinel  # has no annotations
    sentinel = make_sentinel(sentinels, sentinel_kwargs=sentinel_options)
    try:
        host, port = await sentinel.discover_master(name)
    finally:
        for client in sentinel.sentinels:
            await _close(client)
    return Redis(host=host, port=port, **options)


def _address(node: str) -> tuple[str, int]:
    host, _, port = node.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{node!r} is not an address of the form host:port")
    return host.strip("[]"), int(port)  # IPv6 in brackets
