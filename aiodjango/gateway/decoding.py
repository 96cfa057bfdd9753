"""The body of a request without its Content-Encoding, as aiohttp's handlers expect it.

An `AioRunner` leaves bodies as they were sent, because Django receives them so. All other handlers
read a `DecodedBody`, which decodes only what is read.
"""

import asyncio
from typing import Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.compression_utils import (
    HAS_BROTLI,
    HAS_ZSTD,
    BrotliDecompressor,
    ZLibDecompressor,
    ZSTDDecompressor,
)

KIB = 1024
# A decoded body that is larger than the first number, in bytes, may be at most so many times as
# large as it was sent. Text rarely exceeds 50 times; an attack has 1,000 times and more.
RATIO_STARTS = 512 * KIB
MAX_RATIO = 200
# How much, in bytes, is decoded at once.
DECODED_AT_ONCE = 64 * KIB


class DecodedBody(StreamReader):
    """A `StreamReader` that decodes the content of another one.

    Reading raises HTTPUnsupportedMediaType where the package for the coding is not installed,
    HTTPRequestEntityTooLarge where the body grows out of proportion, and RequestPayloadError where
    it is malformed.
    """

    __slots__ = ("_coding", "_decompressor", "_has_more", "_is_waiting", "sent")

    def __init__(self, sent: StreamReader, coding: str) -> None:
        limit, _ = sent.get_read_buffer_limits()
        super().__init__(_NO_FLOW_CONTROL, limit, loop=asyncio.get_running_loop())
        self.sent = sent
        self._coding = coding
        self._decompressor: Any = None
        self._has_more = False
        self._is_waiting = False

    @property
    def is_untouched(self) -> bool:
        """Whether all of the body can still be read from `sent`."""
        return self.total_compressed_bytes is None

    def at_eof(self) -> bool:
        return super().at_eof() or (self.is_untouched and self.sent.at_eof())

    def set_exception(self, exc: Any, exc_cause: Any = None) -> None:
        # A read of this one waits for the other one.
        self.sent.set_exception(exc)

    async def wait_eof(self) -> None:
        await self.sent.wait_eof()

    async def _wait(self, func_name: str) -> None:
        """Decode more; called by all methods of the base class that read."""
        if self._is_waiting:
            raise RuntimeError(f"{func_name}() called while another coroutine reads the body")
        self._is_waiting = True
        try:
            await self._decode_more()
        except Exception as error:
            self._exception = error
            self.release()
            raise
        finally:
            self._is_waiting = False

    async def _decode_more(self) -> None:
        if self._decompressor is None:
            self._decompressor = _decompressor(self._coding)
        size = self.total_bytes
        while self.total_bytes == size and not self._eof:
            if self._has_more:
                await asyncio.sleep(0)  # or a small body would block the loop for long
                self._decode(b"")
            elif data := await self.sent.readany():
                self._decode(data)
            else:
                self._finish()

    def _decode(self, data: bytes) -> None:
        if self._coding == "deflate" and data and not self.total_raw_bytes and data[0] & 0xF != 8:
            # Raw deflate without the header of zlib, which aiohttp accepts too.
            self._decompressor = ZLibDecompressor("deflate", suppress_deflate_header=True)
        self.total_compressed_bytes = (self.total_compressed_bytes or 0) + len(data)
        try:
            decoded = self._decompressor.decompress_sync(data, max_length=DECODED_AT_ONCE)
        except Exception as error:
            raise web.RequestPayloadError(
                f"Can not decode content-encoding: {self._coding}"
            ) from error
        self._has_more = self._decompressor.data_available
        check_ratio(self, decoded)
        self.feed_data(decoded)

    def _finish(self) -> None:
        is_cut = self._coding == "deflate" and not self._decompressor.eof
        if is_cut and self.total_compressed_bytes:
            raise web.RequestPayloadError("The deflated body is incomplete")
        self.feed_eof()
        self.release()

    def release(self) -> None:
        """Free the decompressor when nothing more will be read.

        It may take 16 MiB for a body of any size, and the traceback of an error would keep it until
        the next garbage collection.
        """
        self._decompressor = None


class _DecodedByServer(StreamReader):
    """A body that the server decodes, with the limits of a `DecodedBody`."""

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        check_ratio(self, data)
        return super().feed_data(data, size)

    def set_exception(self, exc: Any, exc_cause: Any = None) -> None:
        # aiohttp's parser replaces what feed_data() raises by an error of its own.
        cause = exc.__cause__
        super().set_exception(cause if isinstance(cause, web.HTTPException) else exc)


def bound_decoded(request: web.BaseRequest) -> None:
    """Have reads of a body that the server decodes raise HTTPRequestEntityTooLarge.

    They raise it where the body grows out of proportion, as those of a `DecodedBody` do.
    """
    content: Any = request.content
    if type(content) is StreamReader and content.total_compressed_bytes is not None:
        content.__class__ = _DecodedByServer


def check_ratio(content: StreamReader, more: bytes = b"") -> None:
    """Raise HTTPRequestEntityTooLarge for a decoded body that is out of proportion.

    more: what is about to be added to it.
    """
    total, sent = content.total_bytes + len(more), content.total_compressed_bytes
    if sent is not None and total > max(RATIO_STARTS, MAX_RATIO * sent):
        raise web.HTTPRequestEntityTooLarge(
            MAX_RATIO * sent,
            total,
            text=f"The decoded body is more than {MAX_RATIO} times as large as it was sent.",
        )


class _NoFlowControl(BaseProtocol):
    """Replaces the connection of a `DecodedBody`, which must not pause the connection itself.

    Only what is read is decoded, so its buffer does not grow.
    """

    def __init__(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


_NO_FLOW_CONTROL = _NoFlowControl()


def as_sent(request: web.BaseRequest) -> StreamReader:
    """Return the reader of the body as it arrives: encoded, where the server does not decode it."""
    content = request.content
    return content.sent if isinstance(content, DecodedBody) else content


def _decompressor(coding: str) -> Any:
    if coding == "br":
        if HAS_BROTLI:
            return BrotliDecompressor()
        package = "Brotli"
    elif coding == "zstd":
        if HAS_ZSTD:
            return ZSTDDecompressor()
        package = "backports.zstd"
    else:
        return ZLibDecompressor(coding)
    known = ["gzip", "deflate", *["br"] * HAS_BROTLI, *["zstd"] * HAS_ZSTD]
    raise web.HTTPUnsupportedMediaType(
        headers={hdrs.ACCEPT_ENCODING: ", ".join(known)},
        text=f"The server cannot decode the Content-Encoding {coding}: {package} is not installed.",
    )
