"""Files below a folder, by the names that clients ask for. Knows neither Django nor aiohttp."""

import errno
import io
import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

logger = logging.getLogger("aiodjango")

# Content codings and the files that have them, the better first.
SIBLINGS = {"br": ".br", "gzip": ".gz"}
# What it means that no such file is there; any other error is the server's.
MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


class FoundFile(NamedTuple):
    """A regular file, open for reading.

    coding: None for the file itself, or the content coding of the sibling that was chosen.
    has_siblings: whether another client might have been given another one.
    """

    file: io.FileIO
    status: os.stat_result
    coding: str | None
    has_siblings: bool


class Folder:
    """A folder whose files may be read by anybody, and nothing outside of it.

    It need not be there yet, and may be replaced by another one (as a link to a release is).

    has_siblings: whether a file's name and ".br" or ".gz" is the name of that file, compressed.
    linked: returns other folders, to which links in this one may lead; asked when there is one.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        has_siblings: bool = False,
        linked: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.root = os.path.abspath(root)
        self._has_siblings = has_siblings
        self._linked = linked

    def open(self, parts: Sequence[str], codings: Sequence[str] = ()) -> FoundFile | None:
        """Open the file with these parts of a path, or return None where there is no such file.

        codings: those that the client takes rather than the file itself, the best first.
        """
        if not all(map(_is_name, parts)):
            return None
        try:
            path = self._find(parts)
            if path is None:
                return None
            present = _siblings(path) if self._has_siblings else []
            for coding in codings:
                if coding in present:
                    return _open(path + SIBLINGS[coding], coding, has_siblings=True)
            return _open(path, has_siblings=bool(present))
        except OSError as error:
            if error.errno in MISSING:
                return None
            raise

    def _find(self, parts: Sequence[str]) -> str | None:
        """The path of a regular file. Raises FileNotFoundError where there is nothing."""
        # Step by step: that is much less work than to resolve the whole path, and links are rare.
        path, mode, has_link = self.root, 0, False
        for part in parts:
            path = f"{path}{os.sep}{part}"
            mode = os.lstat(path).st_mode
            has_link |= stat.S_ISLNK(mode)
        if has_link:
            if not self._may_lead_to(os.path.realpath(path)):
                return None
            mode = os.stat(path).st_mode
        return path if stat.S_ISREG(mode) else None

    def _may_lead_to(self, path: str) -> bool:
        if path.startswith((_real_folder(self.root), *self._linked_folders)):
            return True
        logger.warning("%s is not served: a link leads there, out of %s", path, self.root)
        return False

    @cached_property
    def _linked_folders(self) -> tuple[str, ...]:
        return tuple(map(_real_folder, self._linked()))


def _real_folder(root: str) -> str:
    return os.path.join(os.path.realpath(root), "")


def _is_name(part: str) -> bool:
    """Whether a part of a path is the name of something in the folder before it."""
    # A backslash, because on Windows it separates; a NUL no system takes.
    return part not in ("", ".", "..") and not any(char in part for char in "/\\\0")


def _siblings(path: str) -> list[str]:
    """The codings in which a file is there as well. A link doesn't count: it may lead anywhere."""
    found = []
    for coding, ending in SIBLINGS.items():
        try:
            if stat.S_ISREG(os.lstat(path + ending).st_mode):
                found.append(coding)
        except OSError:
            pass
    return found


def _open(path: str, coding: str | None = None, *, has_siblings: bool) -> FoundFile:
    file = io.FileIO(path)
    return FoundFile(file, os.fstat(file.fileno()), coding, has_siblings)
