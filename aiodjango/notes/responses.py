"""Names of Django's responses and query dictionaries, used with aiohttp's."""

import re
from collections.abc import Callable
from traceback import walk_tb

from aiohttp import web

from aiodjango.runtime.frames import package_of

_ENCODER = (
    "web.json_response() encodes what json.dumps() can. A coroutine view may also return Django's "
    "JsonResponse(…), which encodes dates, decimals and UUIDs; write other objects as dictionaries"
)
_RESPONSE_ONLY = {
    "status_code": "write response.status, or response.set_status(…)",
    "reason_phrase": "write response.reason",
    "content": "write response.body, or response.text",
    "delete_cookie": "write response.del_cookie(name)",
    "set_signed_cookie": "sign the value by django.core.signing, for response.set_cookie()",
    "streaming_content": "write await response.write(part) to a web.StreamResponse",
}
_MULTIDICT = {
    "getlist": "write getall(name, [])",
    "lists": "write keys() and getall(name)",
    "dict": "write dict(…)",
    "urlencode": "write urllib.parse.urlencode(…)",
}
# Arguments of Django's responses that aiohttp's call otherwise.
_ARGUMENTS = {
    "status_code": "write status=…",
    "content": "write text=… or body=…",
    "safe": "leave it out: web.json_response() takes lists too",
    "data": "write web.json_response(…)",
    "encoder": "write dumps=…",
    "json_dumps_params": "write dumps=…",
}


def note_of_response(error: BaseException) -> list[str]:
    """Explain a name, or a form of call, that only Django's responses and dictionaries have."""
    if isinstance(error, AttributeError) and error.name is not None:
        if isinstance(error.obj, web.StreamResponse) and (way := _RESPONSE_ONLY.get(error.name)):
            return [f"This is aiohttp's response, which has no {error.name}: {way}."]
        if type(error.obj).__module__.startswith("multidict") and (
            way := _MULTIDICT.get(error.name)
        ):
            return [f"This is a multidict of aiohttp, which has no {error.name}(): {way}."]
    for kind, pattern, explain in _MESSAGES:
        if type(error) is kind and (match := re.search(pattern, str(error))):
            way = explain(match)
            return [way] if way is not None and _is_of_aiohttp(error, match) else []
    return []


def _explain_argument(match: re.Match[str]) -> str | None:
    way = _ARGUMENTS.get(match[1])
    return None if way is None else f"aiohttp's responses have no argument {match[1]}: {way}."


_MESSAGES: list[tuple[type[Exception], str, Callable[[re.Match[str]], str | None]]] = [
    (
        TypeError,
        r"^Response\.__init__\(\) takes 1 positional argument",
        lambda match: "Name the argument: web.Response(text=…), or web.Response(body=…) for bytes.",
    ),
    (
        TypeError,
        r"^(?:Response\.__init__|json_response)\(\) got an unexpected keyword argument '(\w+)'",
        _explain_argument,
    ),
    (
        TypeError,
        r"^Object of type (?!coroutine)(\w+) is not JSON serializable",
        lambda match: f"{_ENCODER}." if match[1] != "QuerySet" else _READ_FIRST,
    ),
    (
        RuntimeError,
        r"^Call \.prepare\(\) first",
        lambda match: "`await ws.prepare(request)` is missing before the first message.",
    ),
]
_READ_FIRST = "Read the QuerySet first: [each async for each in queryset]."


def _is_of_aiohttp(error: BaseException, match: re.Match[str]) -> bool:
    """Whether aiohttp's code raised a general error; a call that failed has no frame of its own."""
    if not match[0].startswith("Object"):
        return True
    return any(
        package_of(frame) == "aiohttp" and frame.f_code.co_name == "json_response"
        for frame, _ in walk_tb(error.__traceback__)
    )
