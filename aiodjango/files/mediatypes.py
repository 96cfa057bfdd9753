"""The media types of files, by their names."""

import mimetypes
import posixpath

# Types that browsers require, or that differ between systems and versions of Python.
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
    ".xml": "application/xml",  # text/xml would override the encoding that it declares
}
# Compressed files: the coding is part of the type, not a content coding of the response.
COMPRESSED_TYPES = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
UNKNOWN = "application/octet-stream"
# Types that browsers show without running code: these, images except SVG, audio, video, fonts.
PASSIVE_TYPES = {"application/json", "application/pdf", "text/csv", "text/markdown", "text/plain"}
PASSIVE_KINDS = ("audio/", "font/", "image/", "video/")


def media_type(name: str) -> str:
    """Return the media type of a file.

    The types of the web are the same on all systems; others are those of Python's `mimetypes`,
    which the system and the project can extend.
    """
    # The last ending alone: `mimetypes` might take the beginning of a name for a URL's scheme.
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
    """Return the Content-Type for a media type; text is declared as UTF-8."""
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
