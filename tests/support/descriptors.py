"""What this process has open."""

import gc
import os

from aiodjango.runtime.interpreter import has_gil


def open_descriptors() -> int:
    """How many file descriptors are open."""
    if not has_gil():
        # What its own thread has not dropped last is freed when that thread goes on, or by this.
        gc.collect()
    return len(os.listdir("/proc/self/fd"))
