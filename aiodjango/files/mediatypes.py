"""The media types of files, by their names."""

import mimetypes
import posixpath

# What browsers insist on, or what systems and versions of Python disagree about.
WEB_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".htm": "text/html",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",  # as text/xml its own declaration of the encoding would not count
}
# Files that are compressed themselves, which is no content coding of the response.
COMPRESSED_TYPES = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
UNKNOWN = "application/octet-stream"
# What browsers show without running anything in it: these, images but SVG, sounds, films and fonts.
PASSIVE_TYPES = {"application/json", "application/pdf", "text/csv", "text/markdown", "text/plain"}
PASSIVE_KINDS = ("audio/", "font/", "image/", "video/")


def media_type(name: str) -> str:
    """The media type of a file.

    The web's own types are the same on every system; the rest is up to Python's `mimetypes`, with
    what the system and the project have added there.
    """
    # The last ending says enough, and what stands before it might pass for a URL's scheme.
    ending = posixpath.splitext(name)[1].lower()
    if (known := WEB_TYPES.get(ending)) is not None:
        return known
    guessed, coding = mimetypes.guess_type(f"file{ending}")
    if coding is not None:
        return COMPRESSED_TYPES.get(coding, UNKNOWN)
    return guessed or UNKNOWN


def is_script(kind: str) -> bool:
    """Whether a browser would run a file of this media type for a page."""
    return kind.endswith(("/javascript", "/ecmascript", "/x-javascript"))


def is_passive(kind: str) -> bool:
    """Whether a browser may show a file of this media type as a page of its own."""
    if kind.startswith(PASSIVE_KINDS):
        return not kind.endswith("+xml")
    return kind in PASSIVE_TYPES


def with_charset(kind: str) -> str:
    """The Content-Type for a media type: text is taken for UTF-8."""
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
