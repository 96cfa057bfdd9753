"""What a WSGI application is told of a request: the environ of PEP 3333.

Everything here runs on the event loop, is pure, and takes what it needs from the parsed request.
"""

import ipaddress
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from .filewrapper import FileWrapper

# The same for every request; copied, which is cheaper than building it.
_BASE: Mapping[str, Any] = {
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    # A server cannot know how many processes were started beside it: this is the safe answer.
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
    "SERVER_SOFTWARE": SERVER_SOFTWARE,
}

# Of the type that aiohttp's names of headers have, which is the quickest to look up.
_istr = type(hdrs.HOST)
# How a proxy says that its client came over TLS (the names and values that gunicorn knows).
_SECURE_HEADERS = (
    (_istr("X-Forwarded-Proto"), "https"),
    (_istr("X-Forwarded-Protocol"), "ssl"),
    (_istr("X-Forwarded-Ssl"), "on"),
)
# Some proxies, Traefik among them, name the scheme of a WebSocket's handshake so. It is HTTP.
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}

# Header names of more bytes than this are not remembered: a client can choose them at will.
MAX_REMEMBERED_NAME = 64


class SchemeConflict(Exception):
    """Headers that name the scheme of the client's connection contradict each other."""


class TrustedProxies:
    """The peers that may say by a header under which scheme their client came.

    `allowed` is a comma-separated list of addresses and networks; "*" stands for every peer.
    Peers on a unix socket have no address and are always trusted. Raises ValueError for an entry
    that is neither an address nor a network.
    """

    def __init__(self, allowed: str) -> None:
        entries = [entry.strip() for entry in allowed.split(",") if entry.strip()]
        self._everyone = "*" in entries
        try:
            self._networks = [ipaddress.ip_network(entry) for entry in entries if entry != "*"]
        except ValueError as error:
            raise ValueError(f"forwarded_allow_ips: {error}") from None
        # Asked for each request that carries such a header, of few peers.
        self._allows = lru_cache(maxsize=1024)(self._contains)

    def trusts(self, peername: object, sockname: object) -> bool:
        """Whether the peer at `peername`, connected to our `sockname`, may be believed."""
        if self._everyone or isinstance(sockname, str | bytes):
            return True
        # A TCP peer that has gone already may have no name any more: it is nobody we know.
        return isinstance(peername, tuple | list) and self._allows(str(peername[0]))

    def _contains(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        # A socket that listens on both families names an IPv4 peer in IPv6 clothes.
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)


def default_proxies() -> TrustedProxies:
    """Those that the environment names, as for gunicorn, or else this machine.

    `aiodjango.worker` puts there what gunicorn was told otherwise.
    """
    return _proxies(os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1"))


_proxies = lru_cache(maxsize=8)(TrustedProxies)


def build_environ(
    request: web.BaseRequest, script_name: str, proxies: TrustedProxies
) -> dict[str, Any]:
    """The environ of `request`, all but wsgi.input and the length of a body that was received.

    `script_name` is the mount as decoded text, without a trailing slash. Raises
    SchemeConflict when a trusted proxy contradicts itself about the client's scheme.
    """
    environ = dict(_BASE)
    environ["wsgi.errors"] = sys.stderr
    environ["REQUEST_METHOD"] = request.method
    major, minor = request.version
    environ["SERVER_PROTOCOL"] = f"HTTP/{major}.{minor}"
    _add_headers(environ, request)
    _add_target(environ, request, script_name)
    _add_addresses(environ, request, proxies)
    return environ


def _add_headers(environ: dict[str, Any], request: web.BaseRequest) -> None:
    for raw_name, raw_value in request.raw_headers:
        is_short = len(raw_name) <= MAX_REMEMBERED_NAME
        key = _remembered_header_key(raw_name) if is_short else _header_key(raw_name)
        if key is None:
            continue
        value = raw_value.decode("latin-1")
        if key in environ:
            # RFC 9110 section 5.3 joins by a comma; Cookie alone has a syntax of its own.
            separator = "; " if key == "HTTP_COOKIE" else ","
            value = f"{environ[key]}{separator}{value}"
        environ[key] = value
    if (schemes := environ.get("HTTP_X_FORWARDED_PROTO")) is not None:
        # An application that judges the header itself asks for https.
        environ["HTTP_X_FORWARDED_PROTO"] = http_schemes(schemes)


def _header_key(raw_name: bytes) -> str | None:
    """The environ's key for a header, None when the application must not see it."""
    # "X_User" and "X-User" would share a key, and proxies guard only the second spelling.
    if b"_" in raw_name:
        return None
    name = raw_name.decode("latin-1").upper().replace("-", "_")
    if name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return name
    # The body is handed over with the coding taken off: only its length describes it now.
    if name == "TRANSFER_ENCODING":
        return None
    return "HTTP_" + name


_remembered_header_key = lru_cache(maxsize=1024)(_header_key)


def _add_target(environ: dict[str, Any], request: web.BaseRequest, script_name: str) -> None:
    environ["RAW_URI"] = request.raw_path
    # As aiohttp reads the target: its router has decided by the same path.
    url = request.rel_url
    environ["QUERY_STRING"] = _latin1(url.raw_query_string)
    path = _latin1(url.raw_path) or "/"
    if "%" in path:
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    environ["SCRIPT_NAME"] = script_name = _latin1(script_name)
    environ["PATH_INFO"] = path[len(script_name) :]
    if not request.raw_path.startswith("/") and "://" in request.raw_path:
        # RFC 9112 section 3.2.2: the host of an absolute-form target replaces the Host header.
        environ["HTTP_HOST"] = request.url.raw_authority.rpartition("@")[2]
    elif hdrs.HOST in request.headers and request.host != request.headers[hdrs.HOST]:
        # A middleware has replaced it, by request.clone(host=…).
        environ["HTTP_HOST"] = request.host


def _latin1(text: str) -> str:
    """Text that aiohttp has decoded as UTF-8, as PEP 3333 has the same bytes."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _add_addresses(
    environ: dict[str, Any], request: web.BaseRequest, proxies: TrustedProxies
) -> None:
    peername, sockname = request.protocol.peername, request.protocol.sockname
    scheme = scheme_of(request, proxies)
    environ["wsgi.url_scheme"] = scheme
    environ["REMOTE_ADDR"] = request.remote or ""
    if isinstance(peername, tuple):
        environ["REMOTE_PORT"] = str(peername[1])
    if isinstance(sockname, tuple):
        environ["SERVER_NAME"] = str(sockname[0])
        environ["SERVER_PORT"] = str(sockname[1])
    else:
        # A unix socket has neither: the name by which the client asked is as near as can be.
        name, port = _split_host(environ.get("HTTP_HOST", ""))
        environ["SERVER_NAME"] = name or "localhost"
        environ["SERVER_PORT"] = port or ("443" if scheme == "https" else "80")


def _split_host(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return name.strip("[]"), port
    return host.strip("[]"), ""


def scheme_of(request: web.BaseRequest, proxies: TrustedProxies) -> str:
    """The scheme of the client's connection, as a trusted proxy names it.

    Raises SchemeConflict when such a proxy contradicts itself.
    """
    headers = request.headers
    said = {
        "https" if _first_of(http_schemes(value)) == secure else "http"
        for name, secure in _SECURE_HEADERS
        if name in headers
        for value in headers.getall(name)
    }
    if not said or not proxies.trusts(request.protocol.peername, request.protocol.sockname):
        return request.scheme
    if len(said) > 1:
        raise SchemeConflict
    return said.pop()


def _first_of(value: str) -> str:
    # As in Django: of several proxies the first one knows how the client came.
    return value.partition(",")[0].strip().lower()


def http_schemes(value: str) -> str:
    """The value of a header that names schemes, with those of HTTP for ws and wss."""
    if "ws" not in value.lower():
        return value
    return ",".join(
        _WEBSOCKET_SCHEMES.get(scheme.strip().lower(), scheme) for scheme in value.split(",")
    )
