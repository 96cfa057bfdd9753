"""The back end for PostgreSQL: LISTEN and NOTIFY on the site's own database."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import Error
from psycopg import AsyncConnection, sql

from .backend import Backend, BrokerUnavailable, Message, Receiver, check_prefix
from .wire import pack, unpack

# The maximum size of a notification in PostgreSQL, in bytes.
MAX_PAYLOAD = 7999
# The part of it for the process, the number and separators, in bytes.
OVERHEAD = 60
# The maximum length of a prefix, in bytes: names have up to 63, 33 of which are "_" and a hash.
MAX_PREFIX = 30
# How long PostgreSQL may take to answer, in seconds, …
TIMEOUT = 5.0
# … and the time without a notification after which the connection is checked, in seconds.
QUIET = 15.0
# The time after which an unused connection for sending is closed, in seconds. An open one would
# prevent dropping a test's database.
IDLE = 2.0

LISTEN = "LISTEN {}"
UNLISTEN = "UNLISTEN {}"


class PostgresBackend(Backend):
    """PostgreSQL's LISTEN and NOTIFY.

    Events that synchronous code publishes inside a transaction on that database are part of it:
    PostgreSQL itself delivers them at the commit. (While earlier events of the process are still
    being sent, they follow those after the commit, so that the order is kept.)

    location: the alias of the database in DATABASES, "" for "default". It must be a direct
        connection: a pooler such as PgBouncer does not deliver notifications.
    prefix: of the channels' names in PostgreSQL, which all programs on a database share.

    Raises ValueError for an alias that is unknown or not PostgreSQL, and for an invalid prefix.
    """

    def __init__(self, location: str = "", *, prefix: str = "aiodjango") -> None:
        super().__init__(location or DEFAULT_DB_ALIAS)
        check_prefix(prefix, MAX_PREFIX)
        self._prefix = prefix
        if self.location not in connections.settings:
            raise ValueError(f"DATABASES has no database {self.location!r}")
        if connections[self.location].vendor != "postgresql":
            raise ValueError(
                f"the database {self.location!r} is not PostgreSQL: set LOCATION to the alias of a "
                "PostgreSQL database, or choose another back end"
            )
        self._sending: AsyncConnection[Any] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._commands: list[tuple[str, Sequence[str]]] = []  # a statement, and its channels
        self._wake = asyncio.Event()

    # --- Sending ---------------------------------------------------------------------------

    def check_message(self, message: Message) -> None:
        size = len(message.data or b"") + len(message.channel.encode()) + OVERHEAD
        if size > MAX_PAYLOAD:
            raise ValueError(
                f"The event for {message.channel!r} is too large: event and channel have "
                f"{size - OVERHEAD} bytes, and PostgreSQL accepts {MAX_PAYLOAD - OVERHEAD}. "
                "Publish a key instead, and let the receiver read the object from the database; or "
                "use another back end."
            )

    def send_in_transaction(self, message: Message, aliases: Collection[str]) -> bool:
        if any(alias != self.location for alias in aliases):
            return False  # it must also wait for the commit on other databases
        connection = connections[self.location]
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, %s)", self._notification(message))
        except Error:
            if connection.in_atomic_block:
                raise
            return False  # the database is unavailable, which is no error of a view
        return True

    def _notification(self, message: Message) -> tuple[str, str]:
        payload = f"{message.channel}\n{pack(message).decode()}"
        return self._name(message.channel), payload

    def _name(self, channel: str) -> str:
        """Return the name of a channel in PostgreSQL, where the maximum is 63 bytes."""
        return f"{self._prefix}_{hashlib.sha256(channel.encode()).hexdigest()[:32]}"

    async def send(self, messages: Sequence[Message]) -> None:
        if self._idle is not None:
            self._idle.cancel()
        connection = self._sending
        try:
            async with asyncio.timeout(TIMEOUT):
                if connection is None:
                    connection = self._sending = await self._connect()
                async with connection.cursor() as cursor:
                    await cursor.executemany(
                        "SELECT pg_notify(%s, %s)", [self._notification(m) for m in messages]
                    )
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._sending = None
            if connection is not None:
                await connection.close()
            raise _unavailable(error) from error
        self._idle = asyncio.get_running_loop().call_later(IDLE, self._close_sending)

    def _close_sending(self) -> None:
        connection, self._sending = self._sending, None
        if connection is not None:
            connection.pgconn.finish()

    async def _connect(self) -> AsyncConnection[Any]:
        parameters = connections[self.location].get_connection_params()
        for name in ("context", "cursor_factory", "pool", "server_side_binding"):
            parameters.pop(name, None)
        return await AsyncConnection.connect(
            **{**parameters, "autocommit": True, "prepare_threshold": None}
        )

    # --- Receiving -------------------------------------------------------------------------

    async def listen(self, receiver: Receiver) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await self._connect()
            async with connection:
                connection.add_notify_handler(
                    lambda notify: self._deliver(receiver, notify.payload.encode())
                )
                self._commands.clear()
                receiver.confirm("")
                while True:
                    await self._run_commands(connection, receiver)
                    self._wake.clear()
                    if not self._commands and not await self._readable(connection):
                        # Nothing was received for some time: check the connection.
                        async with asyncio.timeout(TIMEOUT):
                            await connection.execute("")
                    self._take_in(connection, receiver)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def _run_commands(self, connection: AsyncConnection[Any], receiver: Receiver) -> None:
        commands, self._commands = self._commands, []
        for statement, channels in commands:
            names = (sql.Identifier(self._name(channel)) for channel in channels)
            async with asyncio.timeout(TIMEOUT):
                await connection.execute(
                    sql.SQL("; ").join(sql.SQL(statement).format(name) for name in names)
                )
            if statement == LISTEN:
                for channel in channels:
                    receiver.confirm(channel)

    async def _readable(self, connection: AsyncConnection[Any]) -> bool:
        """Wait for data or a command. Returns False if there were none for QUIET seconds."""
        loop = asyncio.get_running_loop()
        descriptor = connection.fileno()
        loop.add_reader(descriptor, self._wake.set)
        try:
            async with asyncio.timeout(QUIET):
                await self._wake.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(descriptor)
        return True

    def _take_in(self, connection: AsyncConnection[Any], receiver: Receiver) -> None:
        connection.pgconn.consume_input()
        while (notify := connection.pgconn.notifies()) is not None:
            self._deliver(receiver, notify.extra)

    def _deliver(self, receiver: Receiver, payload: bytes) -> None:
        channel, _, rest = payload.partition(b"\n")
        message = unpack(channel.decode(), rest)
        if message is not None:
            receiver.receive(message)

    async def subscribe(self, channels: Sequence[str]) -> None:
        self._command(LISTEN, channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        self._command(UNLISTEN, channels)

    def _command(self, statement: str, channels: Sequence[str]) -> None:
        self._commands.append((statement, channels))
        self._wake.set()

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._close_sending()


def _unavailable(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(f"PostgreSQL: {str(error).strip() or type(error).__name__}")
