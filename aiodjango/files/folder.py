"""Files in a folder, by the paths that clients request. Independent of Django and aiohttp."""

import errno
import io
import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

logger = logging.getLogger("aiodjango")

# Content codings and the endings of their files, the most effective first.
SIBLINGS = {"br": ".br", "gzip": ".gz"}
# The errors that mean that there is no such file; any other is the server's fault.
MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


class FoundFile(NamedTuple):
    """A regular file, open for reading.

    coding: the content coding of the sibling that was chosen, None for the file itself.
    has_siblings: whether the file exists in other content codings too.
    """

    file: io.FileIO
    status: os.stat_result
    coding: str | None
    has_siblings: bool


class Folder:
    """A folder whose regular files are public; nothing outside it is.

    It may be created or replaced later, as a link to the current release is.

    has_siblings: whether the name of a file plus ".br" or ".gz" is the same file, compressed.
    linked: returns other folders that links may point to; called at the first link.
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
        """Open a file, or return None where there is no such file.

        parts: of its path, relative to the folder.
        codings: those that the client prefers to the file itself, the best first.

        Raises OSError for any other failure.
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
        """Return the path of a regular file, None if it is not served. Raises OSError."""
        # Step by step, as links are rare: resolving the whole path takes much longer.
        path, mode, has_link = self.root, 0, False
        for part in parts:
            path = f"{path}{os.sep}{part}"
            mode = os.lstat(path).st_mode
            has_link |= stat.S_ISLNK(mode)
        if has_link:
            if not self._is_allowed(os.path.realpath(path)):
                return None
            mode = os.stat(path).st_mode
        return path if stat.S_ISREG(mode) else None

    def _is_allowed(self, path: str) -> bool:
        if path.startswith((_real_folder(self.root), *self._linked_folders)):
            return True
        logger.warning(
            "%s is not served: a link in %s points to it, outside of that folder", path, self.root
        )
        return False

    @cached_property
    def _linked_folders(self) -> tuple[str, ...]:
        return tuple(map(_real_folder, self._linked()))


def _real_folder(root: str) -> str:
    return os.path.join(os.path.realpath(root), "")


def _is_name(part: str) -> bool:
    """Whether part of a path names an entry of its folder."""
    # A backslash is a separator on Windows; no system allows NUL.
    return part not in ("", ".", "..") and not any(char in part for char in "/\\\0")


def _siblings(path: str) -> list[str]:
    """Return the codings in which a file also exists, links excluded."""
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
