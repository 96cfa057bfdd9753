"""The back end for a channel layer of Django Channels, whose consumers receive events too."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from channels.exceptions import InvalidChannelLayerError
from channels.layers import get_channel_layer

from .backend import Backend, BrokerUnavailable, Message, Receiver

# How often group memberships are renewed, in seconds: layers drop them, after a day by default.
RENEWAL = 600.0
# The type of an event without one, and of a message about lost events.
TYPE = "aiodjango.event"
LOST = "aiodjango.lost"


class ChannelsBackend(Backend):
    """A channel layer of Django Channels. The channels of `subscribe()` are its groups.

    An event that is a dictionary with "type" is sent unchanged, as by `group_send()`. Others have
    the type "aiodjango.event", which only `subscribe()` receives.

    location: the name in CHANNEL_LAYERS, "" for "default".

    Raises ValueError for a name that is not in CHANNEL_LAYERS.
    """

    is_echoing = True

    def __init__(self, location: str = "") -> None:
        super().__init__(location or "default")
        try:
            self._layer: Any = get_channel_layer(self.location)
        except InvalidChannelLayerError as error:
            raise ValueError(str(error)) from error
        if self._layer is None:
            raise ValueError(f"CHANNEL_LAYERS has no layer {self.location!r}")
        self._receiver: Receiver | None = None
        self._channels: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._failed: asyncio.Future[None] | None = None

    def check_message(self, message: Message) -> None:
        try:
            self._layer.require_valid_group_name(message.channel)
        except TypeError as error:
            raise ValueError(
                f"{message.channel!r} is invalid as a group name of the channel layer: {error}"
            ) from error

    async def send(self, messages: Sequence[Message]) -> None:
        try:
            for message in messages:
                await self._layer.group_send(message.channel, _as_group_message(message))
        except Exception as error:  # of any type: it is that of the layer's client
            raise _unavailable(error) from error

    async def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._failed = asyncio.get_running_loop().create_future()
        receiver.confirm("")
        try:
            while True:
                await asyncio.wait([self._failed], timeout=RENEWAL)
                if self._failed.done():
                    self._failed.result()
                for group, (channel, _) in list(self._channels.items()):
                    await self._layer.group_add(group, channel)
        except Exception as error:
            raise _unavailable(error) from error
        finally:
            self._receiver = None
            for _, task in self._channels.values():
                task.cancel()
            self._channels.clear()

    async def subscribe(self, channels: Sequence[str]) -> None:
        for group in channels:
            try:
                channel = await self._layer.new_channel()
                await self._layer.group_add(group, channel)
            except Exception as error:
                raise _unavailable(error) from error
            receiving = asyncio.get_running_loop().create_task(self._receive(group, channel))
            self._channels[group] = channel, receiving
            if self._receiver is not None:
                self._receiver.confirm(group)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        for group in channels:
            if (found := self._channels.pop(group, None)) is None:
                continue
            channel, receiving = found
            receiving.cancel()
            try:
                await self._layer.group_discard(group, channel)
            except Exception as error:
                raise _unavailable(error) from error

    async def _receive(self, group: str, channel: str) -> None:
        try:
            while True:
                content = await self._layer.receive(channel)
                if self._receiver is not None:
                    self._receiver.receive(_as_message(group, content))
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def close(self) -> None:
        close = getattr(self._layer, "close_pools", None)
        if close is not None:
            await close()


def _as_group_message(message: Message) -> dict[str, Any]:
    if message.data is None:
        return {"type": LOST}
    event = json.loads(message.data)
    if isinstance(event, dict) and isinstance(event.get("type"), str):
        return event
    return {"type": TYPE, "event": event}


def _as_message(group: str, content: dict[str, Any]) -> Message:
    kind = content.get("type")
    if kind == LOST:
        return Message(group, None)
    event = content["event"] if kind == TYPE else content
    return Message(group, json.dumps(event, ensure_ascii=False).encode())


def _unavailable(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(f"channel layer: {error or type(error).__name__}")
