"""The environ of PEP 3333: what a WSGI application learns about a request."""

import io
import ipaddress
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from .body import Body

# The same for every request; a copy is cheaper than a new one.
_BASE: Mapping[str, Any] = {
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    # A server does not know how many processes there are: this is the safe answer.
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
    "SERVER_SOFTWARE": SERVER_SOFTWARE,
}

# The type of aiohttp's header names, which are looked up fastest.
_istr = type(hdrs.HOST)
# How a proxy reports that its client uses TLS: the names and values that gunicorn knows.
_SECURE_HEADERS = (
    (_istr("X-Forwarded-Proto"), "https"),
    (_istr("X-Forwarded-Protocol"), "ssl"),
    (_istr("X-Forwarded-Ssl"), "on"),
)
# Some proxies, such as Traefik, report the scheme of a WebSocket handshake so. It is HTTP.
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}

# Longer header names, in bytes, are not cached: clients can choose them freely.
MAX_CACHED_NAME = 64


class SchemeConflict(web.HTTPBadRequest):
    """Headers contradict each other about the scheme of the client's connection."""


class TrustedProxies:
    """The peers that are trusted to report the scheme of their clients in a header.

    Peers on a unix socket have no address and are always trusted.

    allowed: addresses and networks, separated by commas, or "*" for every peer.

    Raises ValueError for an entry that is neither an address nor a network.
    """

    def __init__(self, allowed: str) -> None:
        entries = [entry.strip() for entry in allowed.split(",") if entry.strip()]
        self._everyone = "*" in entries
        try:
            self._networks = [ipaddress.ip_network(entry) for entry in entries if entry != "*"]
        except ValueError as error:
            raise ValueError(f"forwarded_allow_ips: {error}") from None
        # Asked for each request with such a header, about few peers.
        self._allows = lru_cache(maxsize=1024)(self._contains)

    def trusts(self, peername: object, sockname: object) -> bool:
        """Whether to trust a peer, by the addresses of both ends of the connection."""
        if self._everyone or isinstance(sockname, str | bytes):
            return True
        # A TCP peer that has left already may have no address any more.
        return isinstance(peername, tuple | list) and self._allows(str(peername[0]))

    def _contains(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        # A socket for both families reports an IPv4 peer as an IPv6 address.
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)


def default_proxies() -> TrustedProxies:
    """Return those of the environment variable that gunicorn uses, or else this machine.

    `aiodjango.worker` stores gunicorn's own option there.
    """
    return _proxies(os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1"))


_proxies = lru_cache(maxsize=8)(TrustedProxies)


def build_environ(
    request: web.BaseRequest, mount: str, proxies: TrustedProxies, body: Body | None = None
) -> dict[str, Any]:
    """Return the environ of a request.

    mount: a prefix of the path, decoded and without a trailing slash.

    Raises SchemeConflict where a trusted proxy contradicts itself about the client's scheme.
    """
    environ = dict(_BASE)
    environ["wsgi.errors"] = sys.stderr
    environ["REQUEST_METHOD"] = request.method
    major, minor = request.version
    environ["SERVER_PROTOCOL"] = f"HTTP/{major}.{minor}"
    _add_headers(environ, request)
    _add_target(environ, request, mount)
    _add_addresses(environ, request, proxies)
    _add_body(environ, body)
    return environ


def _add_headers(environ: dict[str, Any], request: web.BaseRequest) -> None:
    for raw_name, raw_value in request.raw_headers:
        is_short = len(raw_name) <= MAX_CACHED_NAME
        key = _cached_header_key(raw_name) if is_short else _header_key(raw_name)
        if key is None:
            continue
        value = raw_value.decode("latin-1")
        if key in environ:
            # RFC 9110 section 5.3: joined by a comma; only Cookie has a syntax of its own.
            separator = "; " if key == "HTTP_COOKIE" else ","
            value = f"{environ[key]}{separator}{value}"
        environ[key] = value
    if (schemes := environ.get("HTTP_X_FORWARDED_PROTO")) is not None:
        # For an application that reads the header itself.
        environ["HTTP_X_FORWARDED_PROTO"] = http_schemes(schemes)


def _header_key(raw_name: bytes) -> str | None:
    """Return the environ's key for a header, None for one that the application must not see."""
    # "X_User" and "X-User" would have one key, and proxies filter only the second.
    if b"_" in raw_name:
        return None
    name = raw_name.decode("latin-1").upper().replace("-", "_")
    if name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return name
    # The application receives the body without the coding, and its length.
    if name == "TRANSFER_ENCODING":
        return None
    return "HTTP_" + name


_cached_header_key = lru_cache(maxsize=1024)(_header_key)


def _add_target(environ: dict[str, Any], request: web.BaseRequest, mount: str) -> None:
    environ["RAW_URI"] = request.raw_path
    # As aiohttp parses the target: its router has used the same path.
    url = request.rel_url
    environ["QUERY_STRING"] = _latin1(url.raw_query_string)
    path = _latin1(url.raw_path) or "/"
    if "%" in path:
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    environ["SCRIPT_NAME"] = script_name = _latin1(mount)
    environ["PATH_INFO"] = path[len(script_name) :]
    if not request.raw_path.startswith("/") and "://" in request.raw_path:
        # RFC 9112 section 3.2.2: the host of an absolute-form target replaces the Host header.
        environ["HTTP_HOST"] = request.url.raw_authority.rpartition("@")[2]
    elif hdrs.HOST in request.headers and request.host != request.headers[hdrs.HOST]:
        # A middleware has replaced it, by request.clone(host=…).
        environ["HTTP_HOST"] = request.host


def _latin1(text: str) -> str:
    """Return text that aiohttp has decoded as UTF-8 as PEP 3333 decodes the same bytes."""
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
        # A unix socket has neither; the Host header is the best substitute.
        name, port = _split_host(environ.get("HTTP_HOST", ""))
        environ["SERVER_NAME"] = name or "localhost"
        environ["SERVER_PORT"] = port or ("443" if scheme == "https" else "80")


def _add_body(environ: dict[str, Any], body: Body | None) -> None:
    if body is None:
        environ["wsgi.input"] = io.BytesIO()
        return
    environ["wsgi.input"] = body.file
    environ["CONTENT_LENGTH"] = str(body.length)
    if body.decoded:
        # Or the application would decode it again.
        environ.pop("HTTP_CONTENT_ENCODING", None)


def _split_host(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return name.strip("[]"), port
    return host.strip("[]"), ""


def scheme_of(request: web.BaseRequest, proxies: TrustedProxies) -> str:
    """Return the scheme of the client's connection, as a trusted proxy reports it.

    Raises SchemeConflict where such a proxy contradicts itself.
    """
    headers = request.headers
    reported = {
        # As in Django: of several proxies the first one knows the scheme of the client.
        "https" if http_schemes(value).partition(",")[0].strip().lower() == secure else "http"
        for name, secure in _SECURE_HEADERS
        if name in headers
        for value in headers.getall(name)
    }
    if not reported or not proxies.trusts(request.protocol.peername, request.protocol.sockname):
        return request.scheme
    if len(reported) > 1:
        raise SchemeConflict(text="The headers that name the scheme contradict each other")
    return reported.pop()


def http_schemes(value: str) -> str:
    """Return a header's value that names schemes with http and https for ws and wss."""
    if "ws" not in value.lower():
        return value
    return ",".join(
        _WEBSOCKET_SCHEMES.get(scheme.strip().lower(), scheme) for scheme in value.split(",")
    )
