"""How long a thread may compute before another gets the GIL.

The event loop gives the GIL away with each system call. While a thread computes it then waits a
switch interval to get it back, several times a turn: with Python's 5 ms every coroutine is slow.
A short interval cures that, but where requests are answered within a fraction of a millisecond
it costs a quarter of them. So it is short only while there are threads that compute for long.
"""

import sys
import threading

# The switch interval (seconds) while threads compute for long.
SHORT_INTERVAL = 0.0005

_lock = threading.Lock()
_owners: set[object] = set()
_usual = 0.0


def shorten(owner: object) -> None:
    """Let threads switch often, until `owner` and all others that asked for it have had enough."""
    global _usual
    if owner in _owners:
        return
    with _lock:
        if not _owners:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(min(SHORT_INTERVAL, _usual))
        _owners.add(owner)


def restore(owner: object) -> None:
    """Take back what `owner` has asked for, if anything."""
    if owner not in _owners:
        return
    with _lock:
        _owners.remove(owner)
        if not _owners:
            sys.setswitchinterval(_usual)
