"""How much memory bodies take, all those of a gateway together.

Each body has a limit of its own, but hundreds of slow clients have hundreds of bodies. What they
hold is counted here; a body that would be too much goes to a file before it reaches its own limit.
"""

import threading
from collections import deque

# What a body always may keep in memory, in bytes: not worth counting, nor a file.
UNCOUNTED = 64 * 1024


class MemoryBudget:
    """`limit` bytes of memory for bodies. May be used in any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken = 0
        # Added to without the lock: a garbage collection inside it may do so.
        self._returned: deque[int] = deque()

    @property
    def taken(self) -> int:
        """How many bytes are taken now."""
        with self._lock:
            return self._balance()

    def take(self, size: int) -> bool:
        """Take `size` bytes; returns False if they are not left."""
        with self._lock:
            fits = self._balance() + size <= self._limit
            if fits:
                self._taken += size
        return fits

    def give_back(self, size: int) -> None:
        self._returned.append(size)

    def _balance(self) -> int:
        while self._returned:
            self._taken -= self._returned.popleft()
        return self._taken


class Share:
    """What one body has taken of a budget. What it still has at its end, it gives back.

    Not for several threads at once.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._taken = 0

    def resize(self, size: int) -> bool:
        """The body keeps `size` bytes from now on; False, with nothing changed, if it must not."""
        wanted = max(0, size - UNCOUNTED)
        if wanted > self._taken:
            if not self._budget.take(wanted - self._taken):
                return False
        elif wanted < self._taken:
            self._budget.give_back(self._taken - wanted)
        self._taken = wanted
        return True

    def __del__(self) -> None:
        self.resize(0)
